package detach

import (
	"errors"

	"github.com/sojournlm/sojourn/fingerprint"
	"github.com/sojournlm/sojourn/internal/document"
)

// Observe decides on what the manager found about its own computer, in a
// fingerprint it signed itself. It gives no entry where nothing but the time is
// new; the fingerprint to show is then the known one, of Book().Local().
func (l *Local) Observe(f *document.Fingerprint) ([][]byte, error) {
	if l.identity == nil {
		return nil, errNotStarted()
	}
	change, err := l.book.Observe(f)
	return computerEntry(entryComputerObserved, change, document.RequestKey{}, err)
}

// AddComputer decides on a computer added by hand, by the rules of
// [fingerprint.Book.Add]. It gives no entry where the same request added it before;
// where nothing changes, none but the one that makes the request known. A [*Refusal]
// says why not.
func (l *Local) AddComputer(given fingerprint.Fields, request document.RequestKey, now int64) ([][]byte, error) {
	return l.changeComputer(entryComputerAdded, request, now, func() (*fingerprint.Change, error) { return l.book.Add(given) })
}

// EditComputer decides on an edit, by the rules of [fingerprint.Book.Edit];
// else it is like AddComputer.
func (l *Local) EditComputer(given fingerprint.Fields, request document.RequestKey, now int64) ([][]byte, error) {
	return l.changeComputer(entryComputerEdited, request, now, func() (*fingerprint.Change, error) { return l.book.Edit(given) })
}

// RemoveComputer decides on a removal, by the rules of [fingerprint.Book.Remove];
// else it is like AddComputer. Seats that are out to the computer stay out, and
// their returns stay valid.
func (l *Local) RemoveComputer(id uint64, request document.RequestKey, now int64) ([][]byte, error) {
	return l.changeComputer(entryComputerRemoved, request, now, func() (*fingerprint.Change, error) { return l.book.Remove(id) })
}

func (l *Local) changeComputer(kind uint32, request document.RequestKey, now int64, decide func() (*fingerprint.Change, error)) ([][]byte, error) {
	if l.identity == nil {
		return nil, errNotStarted()
	}
	if repeated, err := l.repeated(request, now); err != nil || repeated != nil {
		return nil, err
	}
	change, err := decide()
	if change == nil && err == nil {
		return l.answered(request, nil, now)
	}
	return computerEntry(kind, change, request, err)
}

func computerEntry(kind uint32, change *fingerprint.Change, request document.RequestKey, err error) ([][]byte, error) {
	if e, ok := errors.AsType[*fingerprint.Error](err); ok {
		return nil, refuse(e.Code, "%s", e.Message)
	}
	if err != nil || change == nil {
		return nil, err
	}
	return [][]byte{document.EncodeEntry(kind, computer{*change, request})}, nil
}
