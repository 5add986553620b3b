//go:build cgo && gousb

package usb

import (
	"maps"
	"time"
)

// lookTime is how long a listing waits for what was plugged in since the one before.
const lookTime = 500 * time.Millisecond

// looks are what was found where devices are plugged in, by spot. A look at a device may
// take as long as the device likes, so a goroutine of the bus makes it. A listing waits a
// while for those that it begins, and for no others: a device that does not answer is
// left out until it does, and is none of the other devices' business.
type looks[K comparable, V any] struct {
	start func(func()) // a goroutine
	at    map[K]*glance[V]

	silent int // spots of the last list that have not told what is there, or not all of it
}

// glance is one look.
type glance[V any] struct {
	over    chan struct{} // closed when it is; the rest is to be read then
	found   V
	settled bool // it stands until something else is plugged in there
}

// list gives what was found at those spots, and begins to look where that is not known
// yet. What is known of other spots is forgotten.
func (l *looks[K, V]) list(spots []K, look func(K) (found V, settled bool)) map[K]V {
	now := make(map[K]*glance[V], len(spots))
	var begun []*glance[V]
	for _, k := range spots {
		g := l.at[k]
		if g == nil || g.isOver() && !g.settled {
			g = &glance[V]{over: make(chan struct{})}
			l.start(func() {
				defer close(g.over)
				g.found, g.settled = look(k)
			})
			begun = append(begun, g)
		}
		now[k] = g
	}
	l.at = now
	await(begun)
	found := make(map[K]V, len(spots))
	l.silent = 0
	for k, g := range now {
		over := g.isOver()
		if over {
			found[k] = g.found
		}
		if !over || !g.settled {
			l.silent++
		}
	}
	return found
}

func await[V any](begun []*glance[V]) {
	if len(begun) == 0 {
		return
	}
	timer := time.NewTimer(lookTime)
	defer timer.Stop()
	for _, g := range begun {
		select {
		case <-g.over:
		case <-timer.C:
			return
		}
	}
}

func (g *glance[V]) isOver() bool {
	select {
	case <-g.over:
		return true
	default:
		return false
	}
}

// forget has the spots looked at afresh the next time.
func (l *looks[K, V]) forget(those func(K) bool) {
	maps.DeleteFunc(l.at, func(k K, _ *glance[V]) bool { return those(k) })
}
