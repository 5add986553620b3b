package detach_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sojournlm/sojourn/detach"
	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

func TestBufferText(t *testing.T) {
	for text, raw := range map[string]string{
		"":                 "",
		"/v8=":             "\xfe\xff",
		"YSBmaWxl":         "a file",
		"YSBm\r\naWxl\r\n": "a file",
	} {
		var b detach.Buffer
		if err := b.UnmarshalText([]byte(text)); err != nil || string(b) != raw {
			t.Errorf("%q is read as %q, %v, want %q", text, string(b), err, raw)
		}
		if got, want := b.String(), strings.NewReplacer("\r", "", "\n", "").Replace(text); got != want {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
	for name, text := range map[string]string{
		"no base64":                "not base64!",
		"no padding":               "/v8",
		"base64 for addresses":     "_v8=",
		"a second text of the raw": "/v9=",
		"something after it":       "/v8=x",
		"too long":                 strings.Repeat("A", 4*document.MaxEnvelope),
	} {
		b := detach.Buffer("before")
		err := b.UnmarshalText([]byte(text))
		if detach.CodeOf(err) != code.InvalidParameter || string(b) != "before" {
			t.Errorf("%s: %v, buffer is now %q", name, err, string(b))
		}
	}
}

func TestBufferInJSON(t *testing.T) {
	type body struct {
		License detach.Buffer `json:"license"`
	}
	text, err := json.Marshal(body{detach.Buffer("a file")})
	if err != nil || string(text) != `{"license":"YSBmaWxl"}` {
		t.Errorf("%s, %v", text, err)
	}
	var got body
	if err := json.Unmarshal(text, &got); err != nil || string(got.License) != "a file" {
		t.Errorf("%q, %v", got.License, err)
	}
	for _, bad := range []string{`{"license":5}`, `{"license":["YQ=="]}`, `{"license":"?"}`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestLargestFileHasAText(t *testing.T) {
	b := detach.Buffer(make([]byte, document.MaxEnvelope))
	text, err := b.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	for len(text) > 0 {
		n := min(76, len(text))
		lines.Write(text[:n])
		lines.WriteString("\r\n")
		text = text[n:]
	}
	var again detach.Buffer
	if err := again.UnmarshalText(lines.Bytes()); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%d bytes come back as %d: %v", len(b), len(again), err)
	}
}

func FuzzBuffer(f *testing.F) {
	f.Add("YSBmaWxl")
	f.Add("YSBm\naWxl\n")
	f.Fuzz(func(t *testing.T, text string) {
		var b, again detach.Buffer
		if b.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%q is read as %q and shown as %q", text, string(b), b.String())
		}
	})
}
