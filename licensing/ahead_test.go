package licensing_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// Where the office's clock was ahead for a moment, the licenses made after that start
// later by the laptop's clock: the error blames neither of the two alone and says when,
// and the office's log is told once.
func TestLicenseFromAhead(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t)
	office := w.office(feature(1, 3), feature(2, 3))
	office.opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
	office.restart()
	laptop := w.laptop("LAPTOP", office)
	office.watch.shift(50 * time.Minute)
	office.look()
	office.watch.shift(-50 * time.Minute)
	for _, number := range []uint32{1, 2} {
		office.lend(laptop, number)
		_, err := laptop.check(number)
		w.refused(err, licensing.RTCError)
		var e *licensing.Error
		if !errors.As(err, &e) {
			continue
		}
		start := laptop.watch.Now().Add(45 * time.Minute).UTC().Format(time.RFC3339)
		for _, part := range []string{"one of the two", "key's manager", "this computer's", start} {
			if !strings.Contains(e.Message, part) {
				t.Errorf("the message does not name %q: %s", part, e.Message)
			}
		}
		if !strings.Contains(e.Advice, "this computer's") || !strings.Contains(e.Advice, "key's manager") {
			t.Errorf("the advice is for one of the two alone: %s", e.Advice)
		}
	}
	if n := strings.Count(log.String(), "ahead of this computer's clock"); n != 1 {
		t.Errorf("the office's log was told %d times:\n%s", n, log.String())
	}
	w.turn(45 * time.Minute)
	if _, err := laptop.check(1); err != nil {
		t.Errorf("when it should start: %v", err)
	}
}
