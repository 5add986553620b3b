package storagetest_test

import (
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/sojournlm/sojourn/storage"
)

// each is Scan with every pair changed or left out.
func each(change func(storage.Pair) (storage.Pair, bool)) func(*tx, string) iter.Seq2[storage.Pair, error] {
	return func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
		return func(yield func(storage.Pair, error) bool) {
			for pair, err := range t.r.Scan(prefix) {
				keep := true
				if err == nil {
					pair, keep = change(pair)
				}
				if keep && !yield(pair, err) {
					return
				}
			}
		}
	}
}

// sorted is Scan in another order.
func sorted(compare func(a, b string) int) func(*tx, string) iter.Seq2[storage.Pair, error] {
	return func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
		return func(yield func(storage.Pair, error) bool) {
			var pairs []storage.Pair
			for pair, err := range t.r.Scan(prefix) {
				if err != nil {
					yield(storage.Pair{}, err)
					return
				}
				pairs = append(pairs, pair)
			}
			slices.SortFunc(pairs, func(a, b storage.Pair) int { return compare(a.Key, b.Key) })
			for _, pair := range pairs {
				if !yield(pair, nil) {
					return
				}
			}
		}
	}
}

func readerMutants() map[string]map[string]mutant {
	return map[string]map[string]mutant{
		"get": {
			"the next key's": {get: func(t *tx, key string) ([]byte, error) {
				for pair, err := range t.r.Scan(key) {
					if err == nil && pair.Key != key {
						return pair.Value, nil
					}
				}
				return t.r.Get(key)
			}},
		},
		"missing": {
			"nil": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if errors.Is(err, storage.ErrNotFound) {
					return nil, nil
				}
				return value, err
			}},
			"other error": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if err != nil {
					err = errors.New("missing")
				}
				return value, err
			}},
		},
		"keys": {
			"zero-terminated": {put: func(t *tx, key string, value []byte) error {
				return t.w.Put(strings.TrimRight(key, "\x00")+"\x00", value)
			}},
			"reserved": {put: func(t *tx, key string, value []byte) error {
				if strings.HasPrefix(key, "!badger!") {
					return storage.ErrKey
				}
				return t.w.Put(key, value)
			}},
			"short": {put: func(t *tx, key string, value []byte) error { return t.w.Put(key[:min(len(key), 255)], value) }},
		},
		"bad-keys": {
			"not found": {get: func(t *tx, key string) ([]byte, error) {
				if storage.CheckKey(key) != nil {
					return nil, storage.ErrNotFound
				}
				return t.r.Get(key)
			}},
			"cut": {put: func(t *tx, key string, value []byte) error {
				return t.w.Put(key[:min(len(key), storage.MaxKey)], value)
			}},
			"ignored": {delete: func(t *tx, key string) error {
				if storage.CheckKey(key) != nil {
					return nil
				}
				return t.w.Delete(key)
			}},
		},
		"get-owned": {"shared": {get: func(t *tx, key string) ([]byte, error) {
			t.s.mu.Lock()
			defer t.s.mu.Unlock()
			if t.s.cache[key] == nil {
				value, err := t.r.Get(key)
				if err != nil {
					return nil, err
				}
				t.s.cache[key] = value
			}
			return t.s.cache[key], nil
		}}},
		"scan-owned": {"one buffer": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
			var buffer []byte
			return each(func(p storage.Pair) (storage.Pair, bool) {
				buffer = append(buffer[:0], p.Value...)
				p.Value = buffer
				return p, true
			})(t, prefix)
		}}},
		"scan-prefix": {
			"only a beginning": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan("") {
						if (err != nil || pair.Key >= prefix) && !yield(pair, err) {
							return
						}
					}
				}
			}},
			"longer keys only": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return each(func(p storage.Pair) (storage.Pair, bool) { return p, p.Key != prefix })(t, prefix)
			}},
			"no 0xff": {scan: each(func(p storage.Pair) (storage.Pair, bool) { return p, p.Key[0] != 0xff })},
		},
		"scan-order": {
			"descending": {scan: sorted(func(a, b string) int { return strings.Compare(b, a) })},
			"caseless": {scan: sorted(func(a, b string) int {
				return strings.Compare(strings.ToLower(a), strings.ToLower(b))
			})},
			"short first": {scan: sorted(func(a, b string) int { return len(a) - len(b) })},
		},
		"scan-steady": {"live": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
			return func(yield func(storage.Pair, error) bool) {
				last := ""
				for more := true; more; {
					more = false
					for pair, err := range t.r.Scan(prefix) {
						if err != nil || pair.Key > last {
							last, more = pair.Key, err == nil
							if !yield(pair, err) {
								return
							}
							break
						}
					}
				}
			}
		}}},
		"scan-free": {
			"once": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				next, _ := iter.Pull2(t.r.Scan(prefix))
				return func(yield func(storage.Pair, error) bool) {
					for pair, err, ok := next(); ok && yield(pair, err); pair, err, ok = next() {
					}
				}
			}},
			"not left": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						yield(pair, err)
					}
				}
			}},
		},
		"scan-error": {
			"silent": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						if err != nil || !yield(pair, nil) {
							return
						}
					}
				}
			}},
			"goes on": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						if !yield(pair, err) || err != nil && !yield(pair, err) {
							return
						}
					}
				}
			}},
			"with a pair": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						if err != nil {
							pair.Key = prefix + "x"
						}
						if !yield(pair, err) {
							return
						}
					}
				}
			}},
		},
		"done": {
			"get": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if errors.Is(err, storage.ErrDone) {
					return t.now(key)
				}
				return value, err
			}},
			"put": {put: func(t *tx, key string, value []byte) error {
				err := t.w.Put(key, value)
				if errors.Is(err, storage.ErrDone) {
					return nil
				}
				return err
			}},
			"get after a failure": {get: func(t *tx, key string) ([]byte, error) {
				if t.failed {
					return t.now(key)
				}
				return t.r.Get(key)
			}},
			"scan after a failure": {scan: func(t *tx, prefix string) iter.Seq2[storage.Pair, error] {
				return func(yield func(storage.Pair, error) bool) {
					for pair, err := range t.r.Scan(prefix) {
						if err != nil && t.failed {
							return
						}
						if !yield(pair, err) {
							return
						}
					}
				}
			}},
			"crash": {get: func(t *tx, key string) ([]byte, error) {
				value, err := t.r.Get(key)
				if errors.Is(err, storage.ErrDone) {
					panic("discarded")
				}
				return value, err
			}},
		},
	}
}
