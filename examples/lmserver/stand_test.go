package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/netlab"
)

// stand is two managers on two computers, and a proxy on a third between them.
type stand struct {
	lab            *netlab.Lab
	office, laptop *machine
	middle         *netlab.Host
	proxy          *netlab.Proxy
	keys           string // the file of -simulate
	lmsID          string // the laptop's
	liar           *liar  // on a fourth computer, or nil

	down  atomic.Bool    // the line is cut
	later sync.WaitGroup // what goes on at a step by itself
	quiet time.Time      // nothing that was sent before is under way then

	filler string // the file that fills a disk

	seats []whereabouts // where each feature's seat was after its cell
}

// newStand makes one with so many features, each with one seat, and with disks that
// are easily full.
func newStand(t *testing.T, features int, disks bool) *stand {
	t.Helper()
	return newStandOf(t, netlab.New(t, 3), features, disks)
}

// newStandOf makes one on the first three computers of a lab.
func newStandOf(t *testing.T, lab *netlab.Lab, features int, disks bool) *stand {
	t.Helper()
	s := &stand{lab: lab, middle: lab.Hosts[1], keys: wide(t, features, 1)}
	office := lab.Hosts[0]
	var officeDisk, laptopDisk []string
	if disks {
		officeDisk, laptopDisk = []string{"-data", smallDisk(t)}, []string{"-data", smallDisk(t)}
	}
	s.office = newMachine(t, office, append(append(open(office), "-no-discovery", "-allow-host", s.middle.Addr().String()), officeDisk...)...)
	s.replugged(t)
	listener, err := s.middle.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(office.Addr().String(), "3189")
	s.proxy = netlab.NewProxy(t, listener, func(ctx context.Context) (net.Conn, error) {
		return s.middle.DialContext(ctx, "tcp", address)
	})
	s.laptop = newMachine(t, lab.Hosts[2], append(laptopDisk, "-peer", s.proxy.URL())...)
	s.lmsID = s.laptop.environment(t).LMSID
	s.office.admit(t, s.laptop)
	await(t, "the laptop sees the office's key", func() bool { return s.laptop.sees(t, seedKey) })
	return s
}

// cut lets no message pass any more.
func (s *stand) cut() { s.down.Store(true) }

// part lets no packet pass any more.
func (s *stand) part() {
	s.lab.Partition(s.middle, s.office.host)
	s.lab.Partition(s.middle, s.laptop.host)
}

// fill leaves no room on a machine's disk for what comes. The line carries on.
func (s *stand) fill(m *machine, f *netlab.Fault) func() {
	f.Phase = held(f.Phase)
	return func() {
		s.filler = filepath.Join(m.data(), "filler")
		if err := os.WriteFile(s.filler, make([]byte, 16<<20), 0o600); err != nil {
			m.t.Error(err)
		}
	}
}

// clear makes room again.
func (s *stand) clear() {
	if err := os.Remove(s.filler); err != nil {
		s.office.t.Error(err)
	}
}

// smallDisk mounts a disk on which there is hardly more room than a store keeps in
// reserve.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=264m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// sleep suspends a machine for longer than anybody waits, and wakes it.
func (s *stand) sleep(m *machine) {
	m.suspend()
	s.later.Go(func() {
		time.Sleep(longer)
		m.resume()
	})
}

// replug kills the office's lmserver and starts it with other flags.
func (s *stand) replug(flags ...string) {
	s.office.kill()
	if err := s.office.start(flags...); err != nil {
		s.office.t.Error(err)
	}
}

func (s *stand) replugged(t *testing.T) {
	t.Helper()
	s.replug("-simulate", s.keys)
	if t.Failed() {
		t.FailNow()
	}
}

// verbOf gives what a message between managers asks for: 0 for a greeting.
func verbOf(r *http.Request) (verb uint32, ok bool) {
	var envelope struct{ Message string }
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &envelope) != nil {
		return 0, false
	}
	message, err := base64.StdEncoding.DecodeString(envelope.Message)
	if err != nil {
		return 0, false
	}
	request, err := document.ParsePeerRequest(message)
	if err != nil {
		return 0, false
	}
	return request.Verb, true
}

// arm lets a failure strike at a step, once. The channel is closed when it has.
func (s *stand) arm(op errand, f failure, at step) (struck <-chan struct{}) {
	done, over := make(chan struct{}), false
	s.proxy.Judge(func(_ int, r *http.Request) netlab.Fault {
		if s.down.Load() {
			return netlab.Fault{Phase: netlab.CutBefore}
		}
		verb, ok := verbOf(r)
		if over || !ok || at.greets != (verb == 0) || !at.greets && verb != op.verb {
			return netlab.Fault{}
		}
		over = true
		fault := netlab.Fault{Phase: at.phase}
		do := f.strike(s, at, &fault)
		if at.served {
			fault.Served = func() {
				do()
				close(done)
			}
			return fault
		}
		do()
		close(done)
		return fault
	})
	return done
}

// whereabouts are where a seat can be in the end.
type whereabouts string

const (
	isHome   whereabouts = "at the origin"
	isOut    whereabouts = "installed at the laptop"
	isEither whereabouts = "at the origin or installed at the laptop"

	// A program may have been granted the license by the run that was killed, and that
	// run's clock may have been ten minutes further for each one that was: until then
	// nobody else can have the seat.
	isEnding whereabouts = "back, with a grant that lasts"
)

// play runs cells of the matrix one after the other, each with a feature of its own.
func (s *stand) play(t *testing.T, op errand, f failure, at ...step) {
	for _, at := range at {
		t.Run(at.name, func(t *testing.T) {
			feature := uint32(len(s.seats) + 1)
			s.seats = append(s.seats, s.cell(t, op, f, at, feature))
		})
		if t.Failed() {
			t.FailNow()
		}
	}
}

// look checks that all seats are still where they were.
func (s *stand) look(t *testing.T) {
	for i, was := range s.seats {
		found := s.find(t, uint32(i+1))
		if found != was && !(was == isEnding && found == isHome) {
			t.Errorf("the seat of feature %d was %s, and is %q", i+1, was, found)
		}
	}
}

// cell runs one operation with one failure at one step.
func (s *stand) cell(t *testing.T, op errand, f failure, at step, feature uint32) whereabouts {
	key := ""
	if op.key {
		key = t.Name()
	}
	path, body := "/detach", s.laptop.online(s.lmsID, feature)
	if op.cancel {
		s.until200(t, path, body, "before "+t.Name(), false)
		id := s.laptop.here(t, feature)
		if id == 0 {
			t.Fatal("detached, and not installed")
		}
		path, body = "/canceldetach", object{"dongleId": id}
	}
	wait := 2 * patience
	if f.patience > 0 {
		wait = f.patience
	}
	struck := s.arm(op, f, at)
	told := s.laptop.change(path, body, key, wait)
	select {
	case <-struck:
	case <-time.After(patience):
		t.Fatalf("the failure did not strike; the answer is %v", told)
	}
	s.later.Wait()
	s.neverTwice(t, op, feature)
	if s.down.Load() || f.apart {
		s.compareIntents(t, op, told)
	}
	f.mend(t, s)
	if t.Failed() {
		t.FailNow()
	}
	s.judgeAnswer(t, f, told)
	want := wanted(op, told)
	if op.again {
		want = isOut
		if done := s.until200(t, path, body, key, f.late && !op.cancel, f.codes...); !done || op.cancel {
			want = isHome
		}
	}
	s.proxy.Judge(nil)
	await(t, "nothing is pending", func() bool {
		s.neverTwice(t, op, feature)
		return time.Now().After(s.quiet) && !s.laptop.pending(t)
	})
	return s.settled(t, op, feature, want, told)
}

// compareIntents checks that the laptop lists as pending what it has told to be, and
// that a return can be downloaded meanwhile. It is called while the two are apart.
func (s *stand) compareIntents(t *testing.T, op errand, told reply) {
	t.Helper()
	if s.laptop.dead() || told.status != http.StatusServiceUnavailable {
		return
	}
	if told.Error.IntentID == "" {
		t.Errorf("a silent manager, and no pending operation: %v", told)
	}
	want := []string{told.Error.IntentID}
	var got []string
	for _, i := range s.laptop.do(t, "GET", "/intents", nil).Intents {
		got = append(got, i.IntentID)
	}
	givenUp := strings.Contains(told.Error.Message, "no seat has left") && len(got) == 0 // already
	if !slices.Equal(got, want) && !givenUp {
		t.Errorf("pending are %v, told was %v", got, told)
	}
	cancelled := s.laptop.do(t, "GET", "/cancelled/licenses", nil).CancelledLicenses
	if op.cancel && len(cancelled) != len(want) {
		t.Errorf("cancelled are %v, told was %v", cancelled, told)
	}
	for _, c := range cancelled {
		if s.laptop.do(t, "POST", "/cancelled/download", object{"licenseId": c.LicenseID}).License == "" {
			t.Errorf("the return of license %s cannot be downloaded", c.LicenseID)
		}
	}
}

// judgeAnswer checks what was told of a failure.
func (s *stand) judgeAnswer(t *testing.T, f failure, told reply) {
	t.Helper()
	switch {
	case told.took > longer+8*time.Second:
		t.Errorf("the answer came after %v", told.took)
	case told.status == 0 && (f.patience > 0 || s.laptop.restarts > 0): // nobody there to tell it
	case told.err != nil:
		t.Errorf("told: %v", told)
	case told.status == http.StatusOK || slices.Contains(f.codes, told.Error.Code):
	case told.status != http.StatusServiceUnavailable || told.Error.Code != 14 || told.Error.Message == "" || told.Error.Advice == "":
		t.Errorf("told: %v, want 200, or 503 with code 14", told)
	}
}

// wanted is where an operation's seat belongs after the answer.
func wanted(op errand, told reply) whereabouts {
	switch {
	case told.status == 0, told.Error.Code == 13: // nothing was told, or that it is not known
		return isEither
	case op.cancel && told.status != http.StatusOK && told.Error.IntentID == "": // nothing was begun
		return isOut
	case op.cancel || told.status != http.StatusOK:
		return isHome
	}
	return isOut
}

// until200 asks the laptop again and again until it is done. Where late allows it, it
// may have been given back meanwhile, for nobody had asked again in time.
func (s *stand) until200(t *testing.T, path string, body object, key string, late bool, codes ...int) (done bool) {
	t.Helper()
	await(t, path+" is done", func() bool {
		told := s.laptop.change(path, body, key, 2*patience)
		switch {
		case told.status == http.StatusOK:
			done = true
			return true
		case late && told.Error.Code == 48:
			return true
		case told.status == http.StatusServiceUnavailable && told.Error.Code == 14, slices.Contains(codes, told.Error.Code):
			return false
		}
		t.Fatalf("asked again: %v", told)
		return false
	})
	return done
}

// neverTwice checks that no seat is at both ends, where both can be asked. The
// order makes up for what happens between the two questions.
func (s *stand) neverTwice(t *testing.T, op errand, feature uint32) {
	t.Helper()
	if s.laptop.dead() || s.office.dead() || len(s.office.flags) == 0 {
		return
	}
	var free int
	var installed uint64
	if op.cancel {
		free = s.office.pool(t, feature).free
		installed = s.laptop.here(t, feature)
	} else {
		installed = s.laptop.here(t, feature)
		free = s.office.pool(t, feature).free
	}
	if free > 0 && installed != 0 {
		t.Fatalf("feature %d has %d seats free of 1, and is installed at the laptop", feature, free)
	}
}

// find is where a seat is, "" for nowhere.
func (s *stand) find(t *testing.T, feature uint32) whereabouts {
	t.Helper()
	installed, p := s.laptop.here(t, feature) != 0, s.office.pool(t, feature)
	switch {
	case installed && p.free == 0 && p.licenses == 1:
		return isOut
	case !installed && p.free == 1 && p.licenses == 0:
		return isHome
	case !installed && p.licenses == 0:
		return isEnding
	}
	return ""
}

// settled checks where a seat is when nothing is pending any more, and gives that.
func (s *stand) settled(t *testing.T, op errand, feature uint32, want whereabouts, told reply) whereabouts {
	t.Helper()
	found := s.find(t, feature)
	switch {
	case found == want, want == isEither && (found == isHome || found == isOut):
	case found == isEnding && (want == isHome || want == isEither) && op.cancel && s.laptop.restarts > 0:
	default:
		t.Errorf("the seat is %q, want %s; told was %v", found, want, told)
	}
	for _, c := range s.laptop.do(t, "GET", "/cancelled/licenses", nil).CancelledLicenses {
		t.Errorf("the return of license %s has arrived, and is still listed", c.LicenseID)
	}
	return found
}
