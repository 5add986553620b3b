package storagetest

import "context"

// Case is a case of the suite, for the tests of the suite.
type Case struct {
	Name, Sentence string
	Check          func(context.Context, Open, *Options) error
}

// Cases are all cases.
func Cases() []Case {
	var all []Case
	for _, c := range cases() {
		all = append(all, Case{c.name, c.sentence, c.check})
	}
	return all
}

// ErrSkipped is the answer of a case that cannot be tested.
var ErrSkipped = errSkipped

// Arm lets the n-th of the calls to come fail.
func (f *Faulty) Arm(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.fired = n, false
}
