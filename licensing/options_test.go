package licensing_test

import (
	"testing"

	"github.com/sojournlm/sojourn/licensing"
)

// TestOptionsAreCopied changes a manager's options behind its back.
func TestOptionsAreCopied(t *testing.T) {
	w := newWorld(t)
	office := w.office(feature(1, 3), feature(2, 3))
	laptop := w.laptop("LAPTOP")
	office.opts.Policy.Forbidden = []licensing.Selector{{ProductNumber: worldProduct, FeatureNumber: 2}}
	office.restart()
	w.ok(office.know(laptop))
	office.opts.Policy.Forbidden[0].Whole = true
	clear(office.opts.Vendors)
	clear(office.opts.Buses)
	clear(laptop.opts.Vendors)
	w.ok(laptop.Install(w.ctx, office.detach(laptop, 1).License, nil))
	_, err := office.Detach(w.ctx, office.request(laptop, 2), nil)
	w.refused(err, licensing.DetachForbidden)
	w.checkPromises()
}
