package discovery

import (
	"strings"
	"testing"
	"time"
)

// scene plays a claim against a network in a time of its own.
type scene struct {
	*claim
	t     *testing.T
	now   time.Time
	begin time.Time
}

func newScene(t *testing.T, s service, wires int) *scene {
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	sc := &scene{newClaim(s), t, begin, begin}
	sc.start(begin, wires)
	return sc
}

// run lets time pass, at the claim's own steps, and gives what it sent in
// letters: p for a probe, a for an announcement on all wires, 0 to 9 for an
// answer on that wire.
func (s *scene) run(d time.Duration) (sent string) {
	end := s.now.Add(d)
	for {
		next := s.next()
		if next.IsZero() || next.After(end) {
			s.now = end
			return sent
		}
		if next.After(s.now) {
			s.now = next
		}
		list := s.act(s.now)
		if len(list) == 0 {
			s.t.Fatal("the claim wanted to act, and did nothing")
		}
		for _, a := range list {
			switch {
			case a.probe:
				sent += "p"
			case a.wire < 0:
				sent += "a"
			default:
				sent += string(rune('0' + a.wire))
			}
		}
	}
}

func (s *scene) established() *scene {
	s.t.Helper()
	if sent := s.run(time.Minute); sent != "pppaa" {
		s.t.Fatalf("sent %q", sent)
	}
	return s
}

func mustBytes(packet []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return packet
}

func heardOf(packet []byte, err error) message {
	m, err := parse(mustBytes(packet, err))
	if err != nil {
		panic(err)
	}
	return m
}

func rival(port uint16) service {
	return service{instance: "office", host: "sojourn-ff", port: port}
}

func TestClaimUncontested(t *testing.T) {
	s := newScene(t, office(), 2)
	first := s.next()
	if wait := first.Sub(s.begin); wait < 0 || wait >= probeGap {
		t.Errorf("the first probe waits %v", wait)
	}
	if sent := s.run(4 * probeGap); !strings.HasPrefix(sent, "ppp") {
		t.Errorf("sent %q", sent)
	}
	if sent := s.run(time.Hour); sent != "aa" && sent != "a" {
		t.Errorf("then sent %q", sent)
	}
	if s.name() != office().name() {
		t.Errorf("it has become %s", s.name())
	}
}

func TestClaimIsGivenUpToItsOwner(t *testing.T) {
	s := newScene(t, office(), 1)
	s.hear(s.now, 0, heardOf(rival(1).announcement(nil, false)))
	if s.renamed > 0 {
		t.Error("what came before the first probe counted")
	}
	if sent := s.run(probeGap); sent != "p" && sent != "pp" {
		t.Fatalf("sent %q", sent)
	}
	s.hear(s.now, 0, heardOf(rival(1).announcement(nil, true)))
	s.hear(s.now, 0, heardOf(office().announcement(nil, false))) // its own, looped back
	if s.renamed > 0 {
		t.Error("a goodbye, or its own voice, counted")
	}
	s.hear(s.now, 0, heardOf(rival(1).announcement(nil, false)))
	if s.instance != "OFFICE (2)" {
		t.Errorf("it is %q", s.instance)
	}
	if sent := s.run(time.Minute); sent != "pppaa" {
		t.Errorf("the new name: sent %q", sent)
	}
}

func TestClaimsAtOnce(t *testing.T) {
	for _, c := range []struct {
		port uint16
		sent string
	}{
		{3188, "ppaa"},  // theirs is the lesser: ours goes on
		{3190, "pppaa"}, // ours waits, and begins again
	} {
		s := newScene(t, office(), 1)
		if sent := s.run(s.next().Sub(s.now)); sent != "p" {
			t.Fatalf("sent %q", sent)
		}
		waits := s.now
		s.hear(s.now, 0, heardOf(rival(c.port).probe()))
		if c.port > office().port && s.next().Sub(waits) != deferGap {
			t.Errorf("it waits %v", s.next().Sub(waits))
		}
		if sent := s.run(time.Minute); sent != c.sent || s.renamed > 0 {
			t.Errorf("against port %d: sent %q, renamed %d", c.port, sent, s.renamed)
		}
	}
}

func TestClaimIsDefended(t *testing.T) {
	s := newScene(t, office(), 2).established()
	s.hear(s.now, 1, heardOf(rival(1).probe()))
	if !s.next().Equal(s.now) {
		t.Errorf("it answers a probe after %v", s.next().Sub(s.now))
	}
	if sent := s.run(time.Second); sent != "1" {
		t.Errorf("sent %q", sent)
	}
	// Who answers to the name all the same makes it probe again, and its owner
	// then says so.
	s.hear(s.now, 1, heardOf(rival(1).announcement(nil, false)))
	if sent := s.run(time.Minute); sent != "pppaa" || s.renamed > 0 {
		t.Errorf("nobody insisted: sent %q, renamed %d", sent, s.renamed)
	}
}

func TestQuestions(t *testing.T) {
	s := newScene(t, office(), 2).established()
	s.hear(s.now, 0, heardOf(query()))
	if wait := s.next().Sub(s.now); wait < 20*time.Millisecond || wait > 120*time.Millisecond {
		t.Errorf("it answers after %v", wait)
	}
	if sent := s.run(time.Second); sent != "0" {
		t.Errorf("sent %q", sent)
	}
	s.hear(s.now, 0, message{known: []pointer{{lower(office().name()), ttlOther}}, questions: heardOf(query()).questions})
	if sent := s.run(time.Second); sent != "" {
		t.Errorf("to one who knows the answer it sent %q", sent)
	}
	s.hear(s.now, 0, message{known: []pointer{{lower(office().name()), ttlOther/2 - 1}}, questions: heardOf(query()).questions})
	if sent := s.run(time.Second); sent != "0" {
		t.Errorf("to one who will soon forget it sent %q", sent)
	}
	s.hear(s.now, 0, message{response: true, questions: heardOf(query()).questions})
	s.hear(s.now, 0, message{})
	if sent := s.run(time.Second); sent != "" {
		t.Errorf("to no question it sent %q", sent)
	}
}

// TestFloodCostsLittle asks, probes and contradicts ten thousand times in ten
// seconds.
func TestFloodCostsLittle(t *testing.T) {
	for _, c := range []struct {
		why  string
		m    message
		most int
	}{
		{"questions", heardOf(query()), 11},
		{"probes", heardOf(rival(1).probe()), 41},
		{"contradictions", heardOf(rival(1).announcement(nil, false)), 41},
		{"everything", func() message {
			m := heardOf(rival(1).probe())
			m.questions = append(m.questions, heardOf(query()).questions...)
			return m
		}(), 41},
	} {
		s := newScene(t, office(), 1).established()
		sent := 0
		for range 10_000 {
			s.hear(s.now, 0, c.m)
			sent += len(s.run(time.Millisecond))
		}
		if sent == 0 || sent > c.most {
			t.Errorf("10,000 %s in ten seconds made it send %d times, want 1 to %d", c.why, sent, c.most)
		}
	}
}

// TestContestedWithoutEnd has somebody deny every name.
func TestContestedWithoutEnd(t *testing.T) {
	s := newScene(t, office(), 1)
	sent := 0
	for range 3600 {
		sent += len(s.run(time.Second))
		m := heardOf(rival(1).announcement(nil, false))
		m.services[0].instance = lower(s.name())
		s.hear(s.now, 0, m)
	}
	if most := 3600/5*5 + 100; sent > most {
		t.Errorf("in an hour it sent %d messages, want at most %d", sent, most)
	}
	s.established() // once nobody denies it
	if len(s.instance) > 63 {
		t.Errorf("the name has become %q", s.instance)
	}
}
