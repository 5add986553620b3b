package gadget

import (
	"encoding/binary"
	"fmt"
	"unicode/utf16"
)

// The ids of a key that is not sold: pid.codes' for tests.
const (
	TestVendor  = 0x1209
	TestProduct = 0x0001
)

// What a program knows a key by.
const (
	InterfaceClass    = 0xFF
	InterfaceSubClass = 0x53
	InterfaceProtocol = 0x01
)

// Addresses of a [Device]'s endpoints.
const (
	AddressOut = 0x01
	AddressIn  = 0x81
)

// RequestReset is the bRequest of the one vendor request, RequestTypeReset its
// bmRequestType.
const (
	RequestReset     = 0x01
	RequestTypeReset = 0x41
)

// Speed is how fast a device talks.
type Speed int

// The speeds of keys.
const (
	FullSpeed Speed = iota
	HighSpeed
)

// MaxPacket is the size of a full packet on a bulk endpoint, in bytes.
func (s Speed) MaxPacket() int {
	if s == FullSpeed {
		return 64
	}
	return 512
}

// Descriptors are what a device says of itself. The strings are numbered from 1.
type Descriptors struct {
	Device        []byte
	Configuration []byte
	Strings       []string
}

// Config is a key as it is plugged in.
type Config struct {
	Vendor, Product uint16 // 0 means the test ids
	Serial          string
	Speed           Speed
}

// Describe gives the descriptors of a key.
func Describe(c Config) Descriptors {
	if c.Vendor == 0 {
		c.Vendor, c.Product = TestVendor, TestProduct
	}
	le := binary.LittleEndian
	device := []byte{18, 1, 0x00, 0x02, 0xFF, 0, 0, 64}
	device = le.AppendUint16(device, c.Vendor)
	device = le.AppendUint16(device, c.Product)
	device = append(device, 0x00, 0x01, 1, 2, 3, 1)
	configuration := []byte{9, 2, 0, 0, 1, 1, 0, 0x80, 50}
	configuration = append(configuration, Interface(c.Speed)...)
	le.PutUint16(configuration[2:], uint16(len(configuration)))
	return Descriptors{device, configuration, []string{"Sojourn", "License key", c.Serial}}
}

// Interface gives the descriptors of the interface and its endpoints.
func Interface(s Speed) []byte {
	b := []byte{9, 4, 0, 0, 2, InterfaceClass, InterfaceSubClass, InterfaceProtocol, 0}
	for _, address := range []byte{AddressOut, AddressIn} {
		b = append(b, 7, 5, address, 2)
		b = binary.LittleEndian.AppendUint16(b, uint16(s.MaxPacket()))
		b = append(b, 0)
	}
	return b
}

// Serial is the serial number of the key with that id, by habit.
func Serial(id uint64) string { return fmt.Sprintf("%08X", id) }

// text is the string descriptor with that number, or nil.
func (d Descriptors) text(number byte) []byte {
	if number == 0 {
		return []byte{4, 3, 0x09, 0x04} // the languages: English
	}
	if int(number) > len(d.Strings) {
		return nil
	}
	b := []byte{0, 3}
	for _, u := range utf16.Encode([]rune(d.Strings[number-1])) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	b = b[:min(len(b), 254)]
	b[0] = byte(len(b))
	return b
}
