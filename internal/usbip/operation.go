package usbip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/sojournlm/sojourn/internal/gadget"
)

// Operations and their replies.
const (
	version = 0x0111

	opListRequest   = 0x8005
	opListReply     = 0x0005
	opImportRequest = 0x8003
	opImportReply   = 0x0003

	statusOK       = 0
	statusBusy     = 2
	statusNoDevice = 4

	busIDSize = 32
	pathSize  = 256
)

// BusID is the name by which the key is attached.
const BusID = "1-1"

// Where the key claims to be plugged in.
const (
	busNumber    = 1
	deviceNumber = 2
	// DeviceID is how URBs name the device.
	DeviceID = busNumber<<16 | deviceNumber
)

// SpeedCode is a speed as USB/IP and Linux number it.
func SpeedCode(s gadget.Speed) uint32 {
	if s == gadget.FullSpeed {
		return 2
	}
	return 3
}

// operation is what a client asks for at first.
type operation struct {
	list  bool
	busID string // of an import
}

// readOperation reads the first message of a connection.
func readOperation(r io.Reader) (operation, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return operation{}, err
	}
	if v := binary.BigEndian.Uint16(head[:]); v>>8 != version>>8 {
		return operation{}, fmt.Errorf("usbip: version %#04x, want %#04x", v, version)
	}
	if status := binary.BigEndian.Uint32(head[4:]); status != 0 {
		return operation{}, fmt.Errorf("usbip: a request with status %d", status)
	}
	switch code := binary.BigEndian.Uint16(head[2:]); code {
	case opListRequest:
		return operation{list: true}, nil
	case opImportRequest:
		var id [busIDSize]byte
		if _, err := io.ReadFull(r, id[:]); err != nil {
			return operation{}, err
		}
		name, _, ended := bytes.Cut(id[:], []byte{0})
		if !ended {
			return operation{}, fmt.Errorf("usbip: a bus id of %d bytes without an end", len(id))
		}
		return operation{busID: string(name)}, nil
	default:
		return operation{}, fmt.Errorf("usbip: operation %#04x", code)
	}
}

func reply(code uint16, status uint32) []byte {
	b := binary.BigEndian.AppendUint16(nil, version)
	b = binary.BigEndian.AppendUint16(b, code)
	return binary.BigEndian.AppendUint32(b, status)
}

// listReply shows one device and its interfaces.
func listReply(d gadget.Descriptors, speed gadget.Speed) []byte {
	b := binary.BigEndian.AppendUint32(reply(opListReply, statusOK), 1)
	b = append(b, record(d, speed)...)
	return append(b, gadget.InterfaceClass, gadget.InterfaceSubClass, gadget.InterfaceProtocol, 0)
}

func importReply(d gadget.Descriptors, speed gadget.Speed) []byte {
	return append(reply(opImportReply, statusOK), record(d, speed)...)
}

// record describes the device.
func record(d gadget.Descriptors, speed gadget.Speed) []byte {
	be, le := binary.BigEndian, binary.LittleEndian
	b := make([]byte, pathSize+busIDSize, pathSize+busIDSize+24)
	copy(b, "/sys/devices/platform/sojourn/usb1/"+BusID)
	copy(b[pathSize:], BusID)
	b = be.AppendUint32(b, busNumber)
	b = be.AppendUint32(b, deviceNumber)
	b = be.AppendUint32(b, SpeedCode(speed))
	for _, at := range []int{8, 10, 12} { // idVendor, idProduct, bcdDevice
		b = be.AppendUint16(b, le.Uint16(d.Device[at:]))
	}
	const interfaces = 1
	return append(b, d.Device[4], d.Device[5], d.Device[6], d.Configuration[5], d.Device[17], interfaces)
}
