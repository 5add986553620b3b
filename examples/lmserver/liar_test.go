package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/internal/netlab"
)

// lie is what a manager does that claims a key it does not have.
type lie struct {
	name  string
	hangs bool // and says no more
	web   bool // and answers with a page
	// answer gives what it says to a message; nil: nothing.
	answer func(l *liar, r *document.PeerRequest) []byte
}

var lies = []lie{
	{name: "hangs", hangs: true},
	{name: "speaks garbage", answer: func(*liar, *document.PeerRequest) []byte { return bytes.Repeat([]byte{0xff}, 1000) }},
	{name: "is a web server", web: true},
	{name: "speaks another version", answer: func(*liar, *document.PeerRequest) []byte {
		return document.Encode(struct {
			Version uint32 `cbor:"1,keyasint"`
			Words   string `cbor:"2,keyasint"`
		}{99, "words of the future"})
	}},
	{name: "says no", answer: func(l *liar, r *document.PeerRequest) []byte {
		code := map[uint32]uint32{0: 38, 2: 3, 3: 48}[r.Verb]
		return l.sign(r, document.PeerAnswer{Code: code, Message: "no"})
	}},
	{name: "says what it cannot prove", answer: func(l *liar, r *document.PeerRequest) []byte {
		switch r.Verb {
		case 2: // the key's license for something else, that it has seen
			return l.sign(r, document.PeerAnswer{Body: document.Encode(struct {
				ID      uint64 `cbor:"1,keyasint"`
				Death   int64  `cbor:"2,keyasint"`
				License []byte `cbor:"3,keyasint"`
			}{1 << 40, time.Now().Add(time.Hour).Unix(), l.overheard})})
		case 3: // a receipt that nobody signed
			return l.sign(r, document.PeerAnswer{Body: document.Encode(document.Proof{})})
		}
		return l.sign(r, document.PeerAnswer{Body: bytes.Repeat([]byte{1}, 24)}) // a nonce of its own making
	}},
}

// liar is a third computer on the network, which claims the seed's key.
type liar struct {
	url string

	mu        sync.Mutex
	identity  *document.Fingerprint // nil: it is not there
	key       ed25519.PrivateKey
	number    int
	overheard []byte // a license of the key
	lie       lie
	at        step
	struck    bool // it lies from now on
}

func newLiar(t *testing.T, host *netlab.Host) *liar {
	t.Helper()
	listener, err := host.Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	l := new(liar)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: l}}
	server.Start()
	t.Cleanup(server.Close)
	l.url = "http://" + listener.Addr().String()
	return l
}

// become makes it somebody new, who tells one lie at one step of an operation.
func (l *liar) become(t *testing.T, told lie, at step) (hostName string) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := document.NewSealKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.number++
	hostName = fmt.Sprint("LIAR-", l.number)
	l.identity, err = document.SignFingerprint(key, document.Recipient{
		ID: 1<<33 + uint64(l.number), HostName: hostName, Sign: public, Seal: seal.Public(), // an id before all others
	}, time.Now().Unix())
	if err != nil {
		t.Fatal(err)
	}
	l.key, l.lie, l.at, l.struck = key, told, at, false
	return hostName
}

// leave makes it be away.
func (l *liar) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.identity = nil
}

// begin lets it lie from now on.
func (l *liar) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.struck = true
}

func (l *liar) sign(r *document.PeerRequest, a document.PeerAnswer) []byte {
	a.Time = time.Now().Unix()
	signed, err := document.SignPeerAnswer(l.key, l.identity, r, a)
	if err != nil {
		panic(err)
	}
	return signed.Bytes()
}

// honest is what it says while it does not lie: that it is there, and has the key.
func (l *liar) honest(r *document.PeerRequest) []byte {
	if r.Verb == 0 {
		return l.sign(r, document.PeerAnswer{Body: bytes.Repeat([]byte{1}, 40)})
	}
	type key struct {
		ID           uint64   `cbor:"1,keyasint"`
		Model        uint32   `cbor:"2,keyasint"`
		Vendor       uint32   `cbor:"3,keyasint"`
		Firmware     string   `cbor:"4,keyasint"`
		Manufactured int64    `cbor:"5,keyasint"`
		Inaccessible bool     `cbor:"6,keyasint"`
		Features     []string `cbor:"7,keyasint"`
	}
	return l.sign(r, document.PeerAnswer{Body: document.Encode(struct {
		Keys []key `cbor:"1,keyasint"`
	}{[]key{{ID: seedKey, Model: 1, Vendor: demoVendor}}})})
}

// ServeHTTP answers a message, at its step with a lie: before anything is said, behind
// the head of the answer, in the middle of it, or in the whole of it.
func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := l.read(r)
	l.mu.Lock()
	if request == nil || l.identity == nil {
		l.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	lying := l.struck && (l.at.greets && request.Verb == 0 || !l.at.greets && request.Verb > 1)
	said, at, told := []byte(nil), l.at, l.lie
	switch {
	case !lying && request.Verb > 1:
		said = lies[3].answer(l, request) // it has nothing to give
	case !lying || told.answer == nil:
		said = l.honest(request)
	default:
		said = told.answer(l, request)
	}
	l.mu.Unlock()
	body, err := json.Marshal(object{"message": base64.StdEncoding.EncodeToString(said)})
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/json")
	if lying && told.web {
		w.Header().Set("Content-Type", "text/html")
		body = []byte("<html>hello</html>")
	}
	if !lying {
		w.Write(body)
		return
	}
	length := len(body)
	if told.hangs {
		length++ // more is to come, always
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	part := map[netlab.Phase]int{netlab.CutHalfway: len(body) / 2, netlab.Pass: len(body)}[at.phase]
	if at.served || !told.hangs {
		w.WriteHeader(http.StatusOK)
		w.Write(body[:part])
		http.NewResponseController(w).Flush()
	}
	if told.hangs {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if at.phase == netlab.CutHalfway {
		panic(http.ErrAbortHandler)
	}
	w.Write(body[part:])
}

func (l *liar) read(r *http.Request) *document.PeerRequest {
	var envelope struct{ Message []byte }
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || json.Unmarshal(body, &envelope) != nil {
		return nil
	}
	request, err := document.ParsePeerRequest(envelope.Message)
	if err != nil {
		return nil
	}
	return request
}

// newLyingStand is a stand with a liar, whom the laptop is told of like the office.
func newLyingStand(t *testing.T, features int) *stand {
	t.Helper()
	s := newStandOf(t, netlab.New(t, 4), features+1, false)
	s.liar = newLiar(t, s.lab.Hosts[3])
	s.laptop.args = append(s.laptop.args, "-peer", s.liar.url)
	s.laptop.kill()
	s.laptop.again(t)
	// One license of the key is known to the liar.
	seen := s.laptop.online(s.lmsID, uint32(features+1))
	seen["offline"] = true
	license := s.office.do(t, "POST", "/detach", seen).License
	var err error
	if s.liar.overheard, err = base64.StdEncoding.DecodeString(license); err != nil || len(license) == 0 {
		t.Fatalf("license %q, %v", license, err)
	}
	await(t, "the laptop sees the office's key", func() bool { return s.laptop.sees(t, seedKey) })
	return s
}

// deceive runs one operation while the liar lies at one step: its answer is a seat of
// the true origin, or a clean error; and asked anew the true origin gives it, though
// the liar goes on.
func (s *stand) deceive(t *testing.T, op errand, told lie, at step, feature uint32) {
	key := ""
	if op.key {
		key = t.Name()
	}
	s.liar.leave()
	path, body := "/detach", s.laptop.online(s.lmsID, feature)
	if op.cancel {
		s.until200(t, path, body, "before "+t.Name(), false)
		path, body = "/canceldetach", object{"dongleId": s.laptop.here(t, feature)}
	}
	name := s.liar.become(t, told, at)
	await(t, "the liar is believed", func() bool {
		c := s.laptop.knows(t, name)
		return c != nil && c.SilentSince == 0 && s.laptop.sees(t, seedKey)
	})
	s.liar.begin()
	answer := s.laptop.change(path, body, key, 2*patience)
	s.neverTwice(t, op, feature)
	s.judgeDeceived(t, answer)
	if op.again && answer.status != http.StatusOK { // it goes on with the liar's, who may end it or not
		answer = s.laptop.change(path, body, key, 2*patience)
		s.neverTwice(t, op, feature)
		s.judgeDeceived(t, answer)
	}
	want := isHome
	switch {
	case op.cancel:
		await(t, "the return is handed over", func() bool {
			return !slices.ContainsFunc(s.laptop.do(t, "GET", "/intents", nil).Intents, func(i intent) bool { return i.Operation != "detach" })
		})
	case answer.status != http.StatusOK:
		s.until200(t, path, body, "anew "+t.Name(), false, 15)
		fallthrough
	default:
		want = isOut
	}
	s.neverTwice(t, op, feature)
	if found := s.find(t, feature); found != want {
		t.Errorf("the seat is %q, want %s; told was %v", found, want, answer)
	}
	office := s.office.environment(t).LMSID
	for _, i := range s.laptop.do(t, "GET", "/intents", nil).Intents {
		if i.LMSID == office {
			t.Errorf("operation %s is pending with the office", i.IntentID)
		}
	}
	s.seats = append(s.seats, want)
}

// judgeDeceived checks what was told of an operation in which somebody lied.
func (s *stand) judgeDeceived(t *testing.T, told reply) {
	t.Helper()
	silent := told.status == http.StatusServiceUnavailable && (told.Error.Code == 14 || told.Error.Code == 15) && told.Error.IntentID != ""
	if told.status != http.StatusOK && !silent || told.took > 2*longer+8*time.Second {
		t.Errorf("told: %v, want 200, or 503 with code 14 or 15 and what is pending", told)
	}
}

// TestNetLiars: a computer that claims the same key, and hangs, speaks garbage or lies
// at whichever step, harms its own answer only.
func TestNetLiars(t *testing.T) {
	t.Parallel()
	for _, op := range errands {
		for _, told := range lies {
			switch {
			case op.key && !op.again || op.cancel && op.again: // as the others
			case !long && (op.key || told.name != "says what it cannot prove"):
			case !long:
				lied(t, op, told, steps[3])
			case told.hangs: // each for itself
				for _, at := range steps {
					lied(t, op, told, at)
				}
			default:
				lied(t, op, told, steps...)
			}
		}
	}
}

// lied runs steps of one operation with one lie.
func lied(t *testing.T, op errand, told lie, at ...step) {
	t.Run(op.name+"/"+told.name+"/"+at[0].name, func(t *testing.T) {
		t.Parallel()
		s := newLyingStand(t, len(at))
		for i, at := range at {
			t.Run(at.name, func(t *testing.T) { s.deceive(t, op, told, at, uint32(i+1)) })
			if t.Failed() {
				t.FailNow()
			}
		}
		s.look(t)
	})
}
