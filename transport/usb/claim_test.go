//go:build cgo && gousb && linux

package usb

import (
	"errors"
	"testing"

	"github.com/google/gousb"
)

// Nobody who has left has another step taken.
func TestInTurn(t *testing.T) {
	left := errors.New("nobody waits")
	for leaves := range 4 {
		taken := 0
		step := func() error { taken++; return nil }
		err := inTurn(func() error {
			if taken == leaves {
				return left
			}
			return nil
		}, step, step, step)
		if taken != leaves || (err == left) != (leaves < 3) {
			t.Errorf("who leaves after %d of 3 steps: %d were taken, %v", leaves, taken, err)
		}
	}
}

// What gousb makes of a device's descriptors need not be a key's.
func TestFind(t *testing.T) {
	endpoint := func(address gousb.EndpointAddress, size int) gousb.EndpointDesc {
		e := gousb.EndpointDesc{Address: address, Number: int(address & 0x7F), TransferType: gousb.TransferTypeBulk, MaxPacketSize: size}
		e.Direction = gousb.EndpointDirection(address&0x80 != 0)
		return e
	}
	key := func(change func(*gousb.InterfaceDesc, *gousb.InterfaceSetting)) *gousb.DeviceDesc {
		setting := gousb.InterfaceSetting{
			Class: class, SubClass: subClass, Protocol: protocol,
			Endpoints: map[gousb.EndpointAddress]gousb.EndpointDesc{0x02: endpoint(0x02, 512), 0x85: endpoint(0x85, 512)},
		}
		intf := gousb.InterfaceDesc{}
		change(&intf, &setting)
		if intf.AltSettings == nil {
			intf.AltSettings = []gousb.InterfaceSetting{setting}
		}
		return &gousb.DeviceDesc{Configs: map[int]gousb.ConfigDesc{3: {Number: 3, Interfaces: []gousb.InterfaceDesc{intf}}}}
	}
	want := where{config: 3, in: 5, out: 2, maxPacket: 512}
	if got, ok := find(key(func(*gousb.InterfaceDesc, *gousb.InterfaceSetting) {})); !ok || got != want {
		t.Errorf("%+v, %v, want %+v", got, ok, want)
	}
	several := key(func(*gousb.InterfaceDesc, *gousb.InterfaceSetting) {})
	for number := 4; number < 9; number++ {
		several.Configs[number] = several.Configs[3]
	}
	for range 20 {
		if got, ok := find(several); !ok || got != want {
			t.Errorf("of six configurations: %+v, %v, want %+v", got, ok, want)
		}
	}
	for name, change := range map[string]func(*gousb.InterfaceDesc, *gousb.InterfaceSetting){
		"out of its place": func(i *gousb.InterfaceDesc, _ *gousb.InterfaceSetting) { i.Number = 7 },
		"no setting 0":     func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) { s.Alternate = 1 },
		"two settings": func(i *gousb.InterfaceDesc, s *gousb.InterfaceSetting) {
			i.AltSettings = []gousb.InterfaceSetting{*s, *s}
		},
		"another class":    func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) { s.Class = 3 },
		"a later protocol": func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) { s.Protocol = 2 },
		"one endpoint":     func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) { delete(s.Endpoints, 0x02) },
		"a third endpoint": func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) { s.Endpoints[0x83] = endpoint(0x83, 512) },
		"two of one kind":  func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) { s.Endpoints[0x02] = endpoint(0x82, 512) },
		"packets of none": func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) {
			s.Endpoints[0x02], s.Endpoints[0x85] = endpoint(0x02, 0), endpoint(0x85, 0)
		},
		"packets that vary": func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) { s.Endpoints[0x02] = endpoint(0x02, 64) },
		"odd packets": func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) {
			s.Endpoints[0x02], s.Endpoints[0x85] = endpoint(0x02, 513), endpoint(0x85, 513)
		},
		"an interrupt": func(_ *gousb.InterfaceDesc, s *gousb.InterfaceSetting) {
			e := endpoint(0x85, 512)
			e.TransferType = gousb.TransferTypeInterrupt
			s.Endpoints[0x85] = e
		},
	} {
		if got, ok := find(key(change)); ok {
			t.Errorf("%s: taken for a key, %+v", name, got)
		}
	}
}
