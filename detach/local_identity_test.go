package detach

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

func TestNothingHappensBeforeTheFirstStart(t *testing.T) {
	w := newLocalWorld(t)
	l, none := w.issue(1, 1), document.RequestKey{}
	empty := NewLocal(trustOne)
	_, err := empty.Install(l, none, w.now)
	wantCode(t, err, code.InternalError)
	_, _, err = empty.Cancel(w.sign(l), none, w.now)
	wantCode(t, err, code.InternalError)
	_, err = empty.RemoveComputer(7, none, w.now)
	wantCode(t, err, code.InternalError)
	if err := empty.Apply(w.position(0), empty.Mark(60, 600)[0]); err == nil {
		t.Error("a mark was the first entry")
	}
	if _, err := w.state.Start(testIdentity(t, 9)); err == nil {
		t.Error("a manager started twice")
	}
	if err := w.state.Clone().Apply(w.position(0), testIdentity(t, 9).entry()); err == nil {
		t.Error("a second identity was entered")
	}
	if empty.Check() != nil || empty.Due(w.now) != nil || empty.Horizon() != 0 || empty.Identity() != nil {
		t.Error("an empty manager is not empty")
	}
}

func TestIdentityComesBackFromItsEntry(t *testing.T) {
	made, w := testIdentity(t, 1), newLocalWorld(t)
	kept := w.state.Identity()
	if kept.ID != made.ID || !bytes.Equal(kept.Public(), made.Public()) || !bytes.Equal(kept.Seal.Public(), made.Seal.Public()) {
		t.Error("another identity came back")
	}
	if kept.ID < 1<<32 || kept.ID >= 1<<53 {
		t.Errorf("id %d", kept.ID)
	}
	sig, err := document.DomainReturn.Sign(kept.Sign, []byte("x"))
	if err != nil || !document.DomainReturn.Verify(made.Public(), []byte("x"), sig) {
		t.Errorf("its signature does not verify: %v", err)
	}
	for _, random := range []string{"", "short", strings.Repeat("\x00", 10_000), strings.Repeat("\xff", 72)} {
		if _, err := NewIdentity(strings.NewReader(random)); err == nil {
			t.Errorf("an identity of %d bytes %.4q", len(random), random)
		}
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	w := newLocalWorld(t)
	id := w.state.Identity()
	kind, body, err := document.ParseEntry(id.entry())
	if err != nil || kind != entryStarted {
		t.Fatal(err)
	}
	b, err := parseLocalBody[started]("start entry", body)
	if err != nil {
		t.Fatal(err)
	}
	var secrets []string
	for _, s := range [][]byte{b.Sign[:], b.Seal[:], ed25519.NewKeyFromSeed(b.Sign[:])[:8]} {
		secrets = append(secrets, string(s[:8]), hex.EncodeToString(s[:8]), fmt.Sprint(s[:8])[1:], strings.ToUpper(hex.EncodeToString(s[:8])),
			strings.TrimSuffix(fmt.Sprintf("%#v", s[:8])[len("[]byte{"):], "}"))
	}
	holder := struct {
		id    Identity
		state *Local
	}{*id, w.state}
	for _, v := range []any{id, *id, id.Sign, id.Seal, w.state, holder, &holder, []any{id, id.Sign, id.Seal}} {
		var shown []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d"} {
			shown = append(shown, fmt.Sprintf(verb, v))
		}
		j, _ := json.Marshal(v)
		for _, s := range append(shown, string(j)) {
			for _, secret := range secrets {
				if strings.Contains(s, secret) {
					t.Errorf("%T shows a secret: %s", v, s)
				}
			}
		}
	}
	broken := bytes.Clone(id.entry())
	broken[len(broken)-1] ^= 1
	broken[3] ^= 1
	if err := NewLocal(trustOne).Apply(w.position(0), broken); err == nil || strings.Contains(err.Error(), secrets[0]) {
		t.Errorf("a broken entry: %v", err)
	}
}
