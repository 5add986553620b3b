//go:build cgo && gousb

package usb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/gousb"

	"github.com/sojournlm/sojourn/transport"
)

// meanings are the errors that callers of this package tell apart, for each of
// libusb's. What is not among those has the last one's meaning.
var meanings = []struct {
	cause gousb.Error
	mean  error
}{
	{gousb.ErrorNoDevice, transport.ErrNoKey},
	{gousb.ErrorNotFound, transport.ErrNoKey},
	{gousb.ErrorBusy, transport.ErrBusy},
	{gousb.ErrorAccess, ErrPermission},
	{gousb.ErrorNotSupported, ErrDriver},
	{gousb.ErrorNoMem, ErrMemory},
	{gousb.ErrorIO, transport.ErrGarbled},
	{gousb.ErrorPipe, transport.ErrGarbled},
	{gousb.ErrorTimeout, transport.ErrGarbled},
	{gousb.ErrorOverflow, transport.ErrGarbled},
	{gousb.ErrorInterrupted, transport.ErrGarbled},
	{gousb.ErrorOther, transport.ErrGarbled},
	{gousb.ErrorInvalidParam, ErrLibrary},
}

// known are the errors that have a meaning already.
var known = []error{
	transport.ErrNoKey, transport.ErrBusy, transport.ErrClosed, transport.ErrGarbled, transport.ErrTooLong,
	ErrPermission, ErrDriver, ErrMemory, ErrLibrary, ErrForeign, ErrNeighbour,
	context.Canceled, context.DeadlineExceeded,
}

// meaning gives any error of gousb's one of those that callers tell apart, once.
func meaning(err error) error {
	if err == nil {
		return nil
	}
	for _, k := range known {
		if errors.Is(err, k) {
			return err
		}
	}
	if status, ok := errors.AsType[gousb.TransferStatus](err); ok {
		return fmt.Errorf("%w (%w)", transferred(status), err)
	}
	for _, m := range meanings {
		if isUSB(err, m.cause) {
			return fmt.Errorf("%w (%w)", m.mean, err)
		}
	}
	if strings.Contains(err.Error(), noTransfer) {
		return fmt.Errorf("%w (%w)", ErrMemory, err)
	}
	return fmt.Errorf("%w (%w)", ErrLibrary, err)
}

// noTransfer is how gousb says that it got no memory for a transfer.
const noTransfer = "gousb_alloc_transfer_and_buffer"

// transferred is the meaning of a transfer that ended in that way. One that the key
// stalls, and one that was cancelled, mean more to who knows why.
func transferred(status gousb.TransferStatus) error {
	if status == gousb.TransferNoDevice {
		return transport.ErrNoKey
	}
	return transport.ErrGarbled
}

// mayHaveGone tells by the error of sending whether any of a request may have gone out.
// libusb's own errors, and those of words, are about handing a transfer in; what became
// of one that was is a status.
func mayHaveGone(err error) bool {
	_, ended := errors.AsType[gousb.TransferStatus](err)
	return ended || err == nil || errors.Is(err, errNotWhole)
}

// starting is the meaning of the panic with which gousb says that libusb does not start.
func starting(p any) error {
	if err, ok := p.(error); ok && isUSB(err, gousb.ErrorNoMem) {
		return meaning(err)
	}
	return fmt.Errorf("%w (it does not start: %v)", ErrLibrary, p)
}

// isUSB reports whether err is because of cause, which gousb in some places only
// quotes.
func isUSB(err error, cause gousb.Error) bool {
	return err != nil && (errors.Is(err, cause) || strings.Contains(err.Error(), cause.Error()))
}
