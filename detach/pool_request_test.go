package detach

import (
	"errors"
	"testing"

	"github.com/sojournlm/sojourn/internal/code"
	"github.com/sojournlm/sojourn/internal/document"
)

// TestRequestKeysOfFiles asks again for what was installed under a request key:
// the same request changes nothing, another one is refused, and the key is
// known as long as anybody may ask.
func TestRequestKeysOfFiles(t *testing.T) {
	key := func(k, r byte) document.RequestKey {
		return document.RequestKey{Key: document.Hash{k}, Request: document.Hash{r}}
	}
	w := worldOf(t, feature(1, 5), feature(2, 5))
	update := w.license(w.pool.Counter()+1, feature(1, 5), feature(2, 5))
	entries, err := w.pool.Update(update, key(1, 1))
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	w.commit(entries)
	terms := w.mustDetach(request(1, 100, 1))
	ret := w.giveBack(1, terms.License, 0)
	entries, err = w.pool.Return(ret, key(2, 2), w.now)
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	w.commit(entries)

	for _, c := range []struct {
		name string
		ask  func(document.RequestKey) ([][]byte, error)
		key  document.RequestKey
		want error
	}{
		{"the same update", func(k document.RequestKey) ([][]byte, error) { return w.pool.Update(update, k) }, key(1, 1), nil},
		{"the same return", func(k document.RequestKey) ([][]byte, error) { return w.pool.Return(ret, k, w.now) }, key(2, 2), nil},
		{"an update under the return's key", func(k document.RequestKey) ([][]byte, error) { return w.pool.Update(update, k) }, key(2, 1), code.InvalidParameter},
		{"a return under the update's key", func(k document.RequestKey) ([][]byte, error) { return w.pool.Return(ret, k, w.now) }, key(1, 2), code.InvalidParameter},
		{"the update without a key", func(k document.RequestKey) ([][]byte, error) { return w.pool.Update(update, k) }, document.RequestKey{}, code.InvalidUpdateOrAlreadyInstalled},
		{"the return without a key", func(k document.RequestKey) ([][]byte, error) { return w.pool.Return(ret, k, w.now) }, document.RequestKey{}, code.InvalidUpdateOrAlreadyInstalled},
	} {
		entries, err := c.ask(c.key)
		if !errors.Is(err, c.want) || entries != nil {
			t.Errorf("%s: %d entries, error %v, want none and %v", c.name, len(entries), err, c.want)
		}
	}
	if err := w.pool.Check(); err != nil {
		t.Error(err)
	}
	w.now += updateKnown + terms.Duration
	w.settle()
	if n := w.pool.asked.Len() + w.pool.lapses.Len(); n != 0 {
		t.Errorf("%d request keys are still known", n)
	}
}
