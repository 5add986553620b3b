package licensing_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// A step of the wall that is not believed is believed no more for a key that is plugged
// in only then: nothing comes home and nothing leaves before the wall was put right, or
// the key's own clock confirmed it.
func TestKeyPluggedInAfterAStep(t *testing.T) {
	const month = 30 * 24 * time.Hour
	for name, confirmed := range map[string]bool{"put right": false, "confirmed": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			office, key := timed(w)
			laptop, other := w.laptop("LAPTOP", office), w.laptop("OTHER", office)
			office.lend(laptop, 2) // the only seat, for a day
			w.ok(office.Close(w.ctx))
			office.crash()
			key.Unplug()
			w.ok(office.safe.Plug())
			w.ok(office.boot())
			w.turn(time.Minute)
			office.watch.shift(month)
			w.ok(key.Plug())

			_, err := office.Detach(w.ctx, office.request(other, 2), nil)
			w.refused(err, licensing.RTCError)
			if e, _ := errors.AsType[*licensing.Error](err); !strings.Contains(e.Advice, "start it again") {
				w.Errorf("the advice is %q", e.Advice)
			}
			if free := office.free(2); free != 0 {
				t.Errorf("%d seats came home by a step that is not believed", free)
			}
			w.checkPromises()

			if confirmed {
				key.SetClock(office.watch.Now(), 0)
				office.detach(other, 2)
				return
			}
			office.watch.shift(-month)
			_, err = office.Detach(w.ctx, office.request(other, 2), nil)
			w.refused(err, licensing.FeatureResourceExhaust)
			w.turn(25 * time.Hour)
			office.detach(other, 2)
		})
	}
}
