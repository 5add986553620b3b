package ledger

import (
	"container/list"
	"sync"
)

// command is somebody who waits for an answer.
type command[S State[S]] struct {
	decide func(S, Moment) ([][]byte, error) // nil: only settle what is pending
	meet   bool                              // and compare with the key
	answer chan answer[S]                    // takes one without waiting

	// Guarded by the queue's lock.
	place *list.Element // in the queue; nil while the committer has it
	left  bool          // nobody waits for the answer any more
}

// answer is what a command gets.
type answer[S State[S]] struct {
	receipt  *Receipt[S]
	err      error
	panicked any // what decide panicked with
}

// queue is the commands that wait for the committer, first come first served.
type queue[S State[S]] struct {
	mu     sync.Mutex
	wake   sync.Cond // something came, or closed was set
	waits  list.List
	closed bool

	deciding bool          // what the round's commands come to cannot be seen yet
	seen     chan struct{} // closed when it can; nil where nobody has left meanwhile
}

// put lets c wait, unless the queue was closed.
func (q *queue[S]) put(c *command[S]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	c.place = q.waits.PushBack(c)
	q.wake.Signal()
	return true
}

// leave says that nobody waits for c any more, and whether the committer had not
// taken it yet: then it never will.
func (q *queue[S]) leave(c *command[S]) (untouched bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.left = true
	if c.place == nil {
		if q.deciding && q.seen == nil {
			q.seen = make(chan struct{})
		}
		return false
	}
	q.waits.Remove(c.place)
	c.place = nil
	return true
}

// wait ends the committer's round, blocks until something waits and says how
// much, or 0 when the queue was closed and is empty.
func (q *queue[S]) wait() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.show()
	for q.waits.Len() == 0 && !q.closed {
		q.wake.Wait()
	}
	q.deciding = q.waits.Len() > 0
	return q.waits.Len()
}

// show says that what the round's commands come to can be seen. The caller holds the
// lock.
func (q *queue[S]) show() {
	q.deciding = false
	if q.seen != nil {
		close(q.seen)
		q.seen = nil
	}
}

// stored says that the round's batch is stored.
func (q *queue[S]) stored() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.show()
}

// unseen is closed when it can be seen what became of the commands that the
// committer has and their callers have left; nil where there are none.
func (q *queue[S]) unseen() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.seen
}

// take gives the next command, or nil.
func (q *queue[S]) take() *command[S] {
	q.mu.Lock()
	defer q.mu.Unlock()
	front := q.waits.Front()
	if front == nil {
		return nil
	}
	c := q.waits.Remove(front).(*command[S])
	c.place = nil
	return c
}

// untake puts a command back as the next one.
func (q *queue[S]) untake(c *command[S]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !c.left {
		c.place = q.waits.PushFront(c)
	}
}

// end is close by the committer, whose round is over.
func (q *queue[S]) end() {
	q.close()
	q.stored()
}

// close lets nobody in any more.
func (q *queue[S]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.wake.Signal()
}
