package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// asProgram, in the environment, makes the test binary be the program.
const asProgram = "SOJOURN_QUICKSTART"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// command is the program with these arguments.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// result is what a run of the program leaves.
type result struct {
	code           int
	stdout, stderr string
}

// run runs the program to its end.
func run(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := command(t, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// want checks how a run ended and that it printed these texts in this order.
func (r result) want(t *testing.T, code int, texts ...string) {
	t.Helper()
	rest := r.stdout
	if code != 0 {
		rest = r.stderr
	}
	for _, text := range texts {
		_, after, found := strings.Cut(rest, text)
		if !found {
			t.Errorf("not printed, or not in its place: %q", text)
		}
		rest = after
	}
	if r.code != code {
		t.Errorf("ended with %d, want %d", r.code, code)
	}
	if t.Failed() {
		t.Fatalf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
	}
}

// notOpened checks that a replay was refused, for this reason, before anything was opened.
func notOpened(t *testing.T, dir string, reasons ...string) {
	t.Helper()
	before := listing(t, dir)
	r := run(t, "-replay", dir)
	r.want(t, 1, reasons...)
	if r.stdout != "" {
		t.Errorf("told something: %s", r.stdout)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("the directory was\n%sand is\n%s", before, after)
	}
}

// listing names everything in dir with its size and time.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintln(&b, name, info.Size(), info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// must ends the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestStory(t *testing.T) {
	told := filepath.Join(t.TempDir(), "told")
	run(t, "-dir", told).want(t, 0,
		"Everything of this run is kept in "+told, "\n1. ", "3 seats, 3 free, 0 away", "\n2. ", "\n3. ", "3 seats, 2 free, 1 away",
		"\n4. ", "may I run?  No, FEATURE_NOT_FOUND", "may I run?  Yes", "\n5. ", "may I run?  No, DETACHED_LICENSE_NOT_FOUND",
		"\n6. ", "3 seats, 3 free, 0 away", "-replay "+told)

	// again is a copy of the directory, for one case to spoil.
	again := func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "copy")
		must(t, os.CopyFS(dir, os.DirFS(told)))
		return dir
	}
	t.Run("replayed twice", func(t *testing.T) {
		dir := again(t)
		for range 2 {
			r := run(t, "-replay", dir)
			r.want(t, 0, "it has come home before", "yesterday", "rolled back", "Nothing was minted, nothing was lost",
				"before: 3 seats, 3 free, 0 away", "after:  3 seats, 3 free, 0 away")
			if got := strings.Count(r.stdout, ": refused, "); got != 16 {
				t.Fatalf("%d refusals, want 16: each of four files, as it is and altered, on two computers\n%s", got, r.stdout)
			}
		}
	})
	t.Run("told again into a used directory", func(t *testing.T) {
		run(t, "-dir", told).want(t, 1, told+" is not empty", "-replay")
	})
	t.Run("strays among the carried files", func(t *testing.T) {
		dir := again(t)
		carried := filepath.Join(dir, carriedDir)
		must(t,
			os.Mkdir(filepath.Join(carried, "a folder"), 0o700),
			os.WriteFile(filepath.Join(carried, "empty"), nil, 0o600),
			os.WriteFile(filepath.Join(carried, "large"), make([]byte, maxCarried+1), 0o600),
			os.WriteFile(filepath.Join(carried, "notes%d.txt"), []byte("x"), 0o600))
		run(t, "-replay", dir).want(t, 0, "Passed over: a folder is not a file.", "Passed over: empty is empty.",
			"Passed over: large has 1048577 bytes", "notes%d.txt", "refused", "Nothing was minted")
	})
	for _, name := range []string{
		vendorFile, "carried/" + poolFile, "carried/" + fingerprintFile, "carried/" + seatFile, "carried/" + returnFile,
		"OFFICE/" + keyFile, "OFFICE/" + anchorFile, "OFFICE/store", "LAPTOP/" + anchorFile, "LAPTOP/store", backupDir,
	} {
		t.Run("without "+name, func(t *testing.T) {
			dir := again(t)
			must(t, os.RemoveAll(filepath.Join(dir, name)))
			notOpened(t, dir, dir+" is not whole", "missing or empty: "+filepath.FromSlash(name)+"\n")
		})
	}
	t.Run("with nothing but the end", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.CopyFS(dir, os.DirFS(told)), os.RemoveAll(filepath.Join(dir, carriedDir)), os.RemoveAll(filepath.Join(dir, "LAPTOP")))
		notOpened(t, dir, filepath.Join(carriedDir, returnFile), filepath.Join("LAPTOP", anchorFile), filepath.Join("LAPTOP", storeDir))
	})
	t.Run("ended before the end", func(t *testing.T) {
		dir := again(t)
		must(t, os.Remove(filepath.Join(dir, finishedFile)))
		notOpened(t, dir, "that run did not finish")
	})
	t.Run("on altered files", func(t *testing.T) {
		dir := again(t)
		for _, name := range []string{poolFile, fingerprintFile, seatFile, returnFile} {
			name = filepath.Join(dir, carriedDir, name)
			file, err := os.ReadFile(name)
			must(t, err)
			file[len(file)/2] ^= 1 // as the replay itself does
			must(t, os.WriteFile(name, file, 0o600))
		}
		run(t, "-replay", dir).want(t, 0, ", which is not genuine, as a known computer: refused", "Nothing was minted, nothing was lost")
	})
	t.Run("on a store that was put back", func(t *testing.T) {
		dir := again(t)
		store := filepath.Join(dir, "LAPTOP", storeDir)
		must(t, os.RemoveAll(store), os.Rename(filepath.Join(dir, backupDir), store),
			os.CopyFS(filepath.Join(dir, backupDir), os.DirFS(filepath.Join(told, backupDir))))
		// Such a laptop refuses everything; that says nothing about the files.
		run(t, "-replay", dir).want(t, 1, "on LAPTOP", "rolled back")
	})
}

func TestUsage(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"-replay", ""}, 2, "-replay names no directory"},
		{[]string{"-dir="}, 2, "-dir names no directory"},
		{[]string{"-dir", dir, "-replay", dir}, 2, "exclude each other"},
		{[]string{"story"}, 2, `unknown argument "story"`},
		{[]string{"-replay", dir}, 1, dir + " is not the directory of an earlier run"},
		{[]string{"-replay", filepath.Join(dir, "none")}, 1, "is not the directory of an earlier run"},
	} {
		run(t, c.args...).want(t, c.code, c.text)
	}
}

// Ctrl-C while the seat comes home: the directory was named, and is known for
// what it is.
func TestInterrupted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows cannot send an interrupt to one process")
	}
	cmd := command(t)
	cmd.Env = append(cmd.Env, "TMPDIR="+t.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	var dir string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if _, name, found := strings.Cut(lines.Text(), "is kept in "); found {
			dir = name
		}
		if strings.Contains(lines.Text(), "The seat is free when") {
			must(t, cmd.Process.Signal(os.Interrupt))
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("ended with %v, want 130", cmd.ProcessState)
	}
	if got, want := stderr.String(), "\nquickstart: interrupted before the end\n"; got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	notOpened(t, dir, "that run did not finish")
}

func TestNamesOfKey(t *testing.T) {
	if want := fmt.Sprintf("%08X", keyID); keyName != want {
		t.Errorf("keyName is %s, want %s", keyName, want)
	}
	if want := fmt.Sprintf("%d (%s)", keyID, keyName); keyText != want {
		t.Errorf("keyText is %s, want %s", keyText, want)
	}
}
