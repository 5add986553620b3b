//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var programs = flag.String("programs", "", "a `directory` with usbkey, lmserver and keyinfo, the last two built with -tags gousb: go from a plugged key to a detach with them and the stock usbip tool. Needs root and a kernel with vhci_hcd")

// The way of the page "Your own key": a key is attached with the stock tool, a license
// manager finds it on USB, a seat leaves, the plug is pulled and put back, and the seat
// comes home.
func TestYourOwnKey(t *testing.T) {
	if *programs == "" {
		skip(t, "needs -programs=DIR, and to be root on a kernel with vhci_hcd, as under vmrun")
	}
	file := filepath.Join(t.TempDir(), "my.key")
	_, how := start(t, "usbkey", "-file", file)
	office := startServer(t, "-host", "OFFICE", "-usb")
	laptop := startServer(t, "-host", "LAPTOP")
	const key = 305419896

	attach := strings.Fields(how)
	command(t, attach[0], attach[1:]...)
	eventually(t, func() error { return office.shows(key, false) })

	var env struct {
		Environment struct{ LMSID, Fingerprint string }
	}
	laptop.get(t, "/environment", &env)
	office.post(t, "/fingerprints", 200, map[string]any{"fingerprint": env.Environment.Fingerprint}, nil)
	detach := map[string]any{
		"offline": true, "lmsId": env.Environment.LMSID, "dongleId": key, "durationInSec": 3600,
		"productFeatures": []map[string]any{{"productNumber": 29, "featureNumber": 4}},
	}
	var seat, back struct{ License string }
	office.post(t, "/detach", 200, detach, &seat)
	laptop.post(t, "/install", 200, map[string]any{"license": seat.License}, nil)
	office.free(t, 2)

	command(t, "usbip", "detach", "-p", "00")
	eventually(t, func() error { return office.shows(key, true) })
	office.post(t, "/detach", 503, detach, nil)

	command(t, attach[0], attach[1:]...)
	eventually(t, func() error { return office.shows(key, false) })
	office.free(t, 2)
	laptop.post(t, "/canceldetach", 200, map[string]any{"offline": true, "dongleId": key}, &back)
	office.post(t, "/install", 200, map[string]any{"license": back.License}, nil)
	office.free(t, 3)

	info := exec.Command(filepath.Join(*programs, "keyinfo"))
	if out, err := info.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("a program uses it")) {
		t.Errorf("keyinfo while lmserver has the key: %v\n%s", err, out)
	}
	office.stop(t)
	out, err := exec.Command(filepath.Join(*programs, "keyinfo"), "-json").Output()
	var keys []struct {
		DongleID, PoolCounter, Batch uint64
		Health                       string
	}
	if err := errors.Join(err, json.Unmarshal(out, &keys)); err != nil || len(keys) != 1 || keys[0].DongleID != key || keys[0].PoolCounter != 1 || keys[0].Batch < 2 || keys[0].Health != "good" {
		t.Errorf("keyinfo: %v\n%s", err, out)
	}
	command(t, "usbip", "detach", "-p", "00")
}

// A board with a device port is the key, for as long as the program runs.
func TestBoard(t *testing.T) {
	if ports, _ := filepath.Glob("/sys/class/udc/*"); *programs == "" || len(ports) == 0 {
		skip(t, "needs -programs=DIR and a USB device port, as under vmrun -gadget")
	}
	cmd, _ := start(t, "usbkey", "-file", filepath.Join(t.TempDir(), "board.key"), "-id", "77", "-functionfs")
	eventually(t, func() error {
		out, err := exec.Command(filepath.Join(*programs, "keyinfo"), "-json").Output()
		if err != nil || !bytes.Contains(out, []byte(`"dongleId": 77`)) {
			return fmt.Errorf("%v\n%s", err, out)
		}
		return nil
	})
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		t.Errorf("ended: %v", err)
	}
	if out, err := exec.Command(filepath.Join(*programs, "keyinfo"), "-json").Output(); err != nil || string(out) != "[]\n" {
		t.Errorf("the board is no key any more: %v\n%s", err, out)
	}
}

// skip skips a test for what it needs, where USB_TEST_REQUIRE does not ask for that.
func skip(t *testing.T, needs string) {
	t.Helper()
	if os.Getenv("USB_TEST_REQUIRE") != "" {
		t.Fatal(needs)
	}
	t.Skip(needs)
}

// start starts one of the programs and gives the first line that it prints.
func start(t *testing.T, name string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(filepath.Join(*programs, name), args...)
	log := new(bytes.Buffer)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%v\n%s", cmd.Args, log)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return cmd, strings.TrimSpace(line)
}

// command runs a program of the system.
func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// eventually asks until the kernel and the manager have noticed.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	end := time.Now().Add(30 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// server is an lmserver.
type server struct {
	cmd *exec.Cmd
	url string
}

func startServer(t *testing.T, args ...string) server {
	t.Helper()
	cmd, line := start(t, "lmserver", append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	url, ok := strings.CutPrefix(line, "listening on ")
	if !ok {
		t.Fatal(line)
	}
	return server{cmd, url + "/v1.0/lm"}
}

func (s server) stop(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait()); err != nil {
		t.Errorf("lmserver: %v", err)
	}
}

func (s server) get(t *testing.T, path string, into any) {
	t.Helper()
	answer, err := http.Get(s.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

func (s server) post(t *testing.T, path string, status int, body, into any) {
	t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Post(s.url+path, "application/json", bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != status {
		t.Fatalf("%s: %s, %v, want status %d\n%s", path, answer.Status, err, status, text)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// shows reports whether the key is listed, and as plugged in or out.
func (s server) shows(key uint64, out bool) error {
	answer, err := http.Get(s.url + "/dongles")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var list struct {
		Dongles []struct {
			DongleID uint64
			Flags    struct{ Inaccessible bool }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&list); err != nil {
		return err
	}
	for _, d := range list.Dongles {
		if d.DongleID == key && d.Flags.Inaccessible == out {
			return nil
		}
	}
	return fmt.Errorf("want key %d with inaccessible %v: %+v", key, out, list)
}

func (s server) free(t *testing.T, want int) {
	t.Helper()
	var list struct {
		Features []struct{ FloatingResource int }
	}
	s.get(t, "/features?product=29&feature=4", &list)
	if len(list.Features) != 1 || list.Features[0].FloatingResource != want {
		t.Errorf("%+v, want %d free seats", list, want)
	}
}
