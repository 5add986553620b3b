package badgerstore_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sojournlm/sojourn/storage"
	"github.com/sojournlm/sojourn/storage/badgerstore"
)

// The test binary runs itself as another process, which opens the store in the
// directory that this variable names.
const childVariable = "BADGERSTORE_TEST_DIR"

// reserveVariable is the reserve of that store in bytes; unset: none.
const reserveVariable = "BADGERSTORE_TEST_RESERVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child writes the numbers that it reads, and acknowledges each, until there are
// no more.
func child(dir string) error {
	opts := *anywhere
	if bytes := os.Getenv(reserveVariable); bytes != "" {
		var err error
		if opts.Reserve, err = strconv.ParseInt(bytes, 10, 64); err != nil {
			return err
		}
	}
	s, err := badgerstore.Open(dir, &opts)
	if err != nil {
		return err
	}
	fmt.Println("open")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		err := s.Update(processContext, func(w storage.Writer) error {
			return errors.Join(
				w.Put("n/"+lines.Text(), valueOf(lines.Text())),
				w.Put("last", lines.Bytes()),
			)
		})
		if err != nil {
			return err
		}
		fmt.Println(lines.Text())
	}
	return errors.Join(lines.Err(), s.Close())
}

// process is a child that runs.
type process struct {
	*exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	errors strings.Builder // what it said on stderr; to be read after Wait
}

func start(t *testing.T, dir string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), exe)}
	p.Env = append(os.Environ(), childVariable+"="+dir)
	p.Stderr = &p.errors
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	if !p.out.Scan() || p.out.Text() != "open" {
		t.Fatalf("the child says %q, %v", p.out.Text(), p.out.Err())
	}
	return p
}

func TestLockedByAnotherProcess(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir)
	_, err := badgerstore.Open(dir, anywhere)
	if !errors.Is(err, badgerstore.ErrLocked) {
		t.Errorf("Open of a store that another process has gives %v, want ErrLocked", err)
	}
	p.in.Close()
	if err := p.Wait(); err != nil {
		t.Fatal(err, p.errors.String())
	}
	mustOpen(t, dir, anywhere)
}

// TestKill kills a process that writes, again and again, and looks for every
// write that it acknowledged.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := 0
	for range 3 {
		p := start(t, dir)
		var feeder sync.WaitGroup
		feeder.Go(func() { // ends when the child is gone
			for n := acknowledged + 1; ; n++ {
				if _, err := fmt.Fprintln(p.in, n); err != nil {
					return
				}
			}
		})
		target := acknowledged + 100
		for p.out.Scan() { // to the end of what the child said, also after the kill
			n, err := strconv.Atoi(p.out.Text())
			if err != nil {
				t.Fatal(err)
			}
			if acknowledged = n; n == target {
				if err := p.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := p.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		feeder.Wait()
		if acknowledged < target {
			t.Fatalf("the child ended after %d writes, want %d: %s", acknowledged, target, p.errors.String())
		}
		acknowledged = verify(t, dir, acknowledged)
	}
}

// verify looks for the numbers up to acknowledged, and is the last one there:
// more may be there than was acknowledged, but each as a whole.
func verify(t *testing.T, dir string, acknowledged int) (last int) {
	t.Helper()
	s, err := badgerstore.Open(dir, anywhere)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.View(t.Context(), func(r storage.Reader) error {
		text, err := r.Get("last")
		if err != nil {
			return err
		}
		if last, err = strconv.Atoi(string(text)); err != nil {
			return err
		}
		if last < acknowledged {
			return fmt.Errorf("the last write is %d, but %d was acknowledged", last, acknowledged)
		}
		for n := 1; n <= last; n++ {
			key := strconv.Itoa(n)
			value, err := r.Get("n/" + key)
			if err != nil {
				return err
			}
			if string(value) != string(valueOf(key)) {
				return fmt.Errorf("the value of %d is %q", n, value)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}
