package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// program is the built lmserver, which the tests run as its users do.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lmserver-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "lmserver.exe") // the ending is for Windows, and no harm elsewhere
	build := []string{"build", "-o", program}
	if race {
		build = append(build, "-race")
	}
	if out, err := exec.Command("go", append(build, ".")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%s%v\n", out, err)
		return 1
	}
	return m.Run()
}

// process is a running lmserver.
type process struct {
	cmd    *exec.Cmd
	url    string // http://HOST:PORT
	client *http.Client
	log    *logbook
	stdout chan string // everything after the first line, at the end
}

// launch starts lmserver on a free port and gives it when it is ready.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := exec.Command(program, append([]string{"-listen", "127.0.0.1:0"}, args...)...)
	p, err := start(t, cmd, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// start runs a command that is an lmserver and gives it when it is ready. The
// client reaches it. It ends with the test at the latest.
func start(t *testing.T, cmd *exec.Cmd, client *http.Client) (*process, error) {
	p := &process{cmd: cmd, log: newLogbook(), client: client, stdout: make(chan string, 1)}
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			p.kill()
		}
		if t.Failed() {
			t.Logf("%v\n%s", p.cmd.Args[1:], p.log)
		}
	})
	lines := bufio.NewReader(out)
	first, _ := lines.ReadString('\n')
	match := regexp.MustCompile(`^listening on (https?://\S+:\d+)\n$`).FindStringSubmatch(first)
	if match == nil {
		p.kill()
		return nil, fmt.Errorf("%v: the first line is %q\n%s", cmd.Args[1:], first, p.log)
	}
	p.url = match[1]
	go func() {
		rest, _ := io.ReadAll(lines)
		p.stdout <- string(rest)
	}()
	return p, nil
}

// kill ends the process as a crash does.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// stop ends the process in order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t)
	p.wait(t)
}

func (p *process) signal(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// wait waits for a process that ends in order.
func (p *process) wait(t *testing.T) {
	t.Helper()
	rest := <-p.stdout
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v", err)
	}
	if rest != "" {
		t.Errorf("standard output has more than one line: %q", rest)
	}
}

// refused runs lmserver with arguments it must not start with, and gives its log.
func refused(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	log := newLogbook()
	var out bytes.Buffer
	cmd.Stderr, cmd.Stdout = log, &out
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); !ended {
		t.Fatalf("%v: ended with %v, want a failure", args, err)
	}
	if out.Len() > 0 {
		t.Errorf("%v: wrote %q to standard output", args, out.String())
	}
	return log.String()
}

// call asks the API and gives the status and the answer's body.
func (p *process) call(method, path string, body any) (int, []byte, error) {
	resp, answer, err := p.ask(context.Background(), method, path, body)
	if err != nil {
		return 0, nil, err
	}
	return resp.StatusCode, answer, nil
}

// ask is call until ctx ends, with headers: name, value, name and so on. It gives
// the whole answer, its body read.
func (p *process) ask(ctx context.Context, method, path string, body any, header ...string) (*http.Response, []byte, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(content))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	return resp, answer, nil
}

// api is where the API lies.
const api = "/v1.0/lm"

// intent is an operation that is pending.
type intent struct{ IntentID, LicenseID, LMSID, Operation, Problem string }

// answer is every field of the API that the tests look at.
type answer struct {
	License     string
	Environment computer
	Features    []struct {
		DongleID                                                  uint64
		ProductNumber, FeatureNumber                              uint32
		DetachedResource, FloatingResource, MaxConcurrentResource int
		Flags                                                     struct{ Remote bool }
	}
	Dongles []struct {
		DongleID uint64
		LMSID    string
		Flags    struct{ Remote, Inaccessible bool }
	}
	Fingerprints      []computer
	CancelledLicenses []struct{ LicenseID string }
	Intents           []intent
	DetachedLicenses  []struct {
		LicenseID uint64
		HostName  string
		Products  []struct {
			Features []struct{ FeatureNumber uint32 }
		}
	}
	Error struct {
		Code                      int
		IntentID, Message, Advice string
	}
}

type computer struct {
	LMSID, HostName, Fingerprint string

	Auto, Remote bool
	SilentSince  int64
}

// do asks the API for something that must succeed.
func (p *process) do(t *testing.T, method, path string, body any) (a answer) {
	t.Helper()
	status, content, err := p.call(method, api+path, body)
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s %s: %d %s %v", method, path, status, content, err)
	}
	if err := json.Unmarshal(content, &a); err != nil {
		t.Fatalf("%s %s: %v in %s", method, path, err, content)
	}
	return a
}

// fail asks the API for something that must be refused with that status and code.
func (p *process) fail(t *testing.T, method, path string, body any, status, code int) (message string) {
	t.Helper()
	got, content, err := p.call(method, api+path, body)
	var a answer
	if err == nil {
		err = json.Unmarshal(content, &a)
	}
	if err != nil || got != status || a.Error.Code != code {
		t.Fatalf("%s %s: %d %s %v, want status %d and code %d", method, path, got, content, err, status, code)
	}
	return a.Error.Message
}

// page gets a page beside the API.
func (p *process) page(t *testing.T, path string) (status int, content string) {
	t.Helper()
	status, body, err := p.call("GET", path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return status, string(body)
}

// logbook is a log that one can wait on.
type logbook struct {
	mu    sync.Mutex
	text  strings.Builder
	grown *sync.Cond
}

func newLogbook() *logbook {
	l := new(logbook)
	l.grown = sync.NewCond(&l.mu)
	return l
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grown.Broadcast()
	return l.text.Write(b)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until a text is in the log.
func (l *logbook) await(t *testing.T, text string) {
	t.Helper()
	patient := true
	timer := time.AfterFunc(20*time.Second, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		patient = false
		l.grown.Broadcast()
	})
	defer timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for patient && !strings.Contains(l.text.String(), text) {
		l.grown.Wait()
	}
	if !patient {
		t.Fatalf("the log does not come to %q", text)
	}
}
