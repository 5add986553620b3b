package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sojournlm/sojourn/device"
	"github.com/sojournlm/sojourn/licensing"
	"github.com/sojournlm/sojourn/transport"
	"github.com/sojournlm/sojourn/transport/usb"
)

// key is what is shown of one.
type key struct {
	BusID   string `json:"busId"`
	Serial  string `json:"serial"`
	Problem string `json:"problem,omitempty"` // then what follows is empty
	Advice  string `json:"advice,omitempty"`

	ID           uint64     `json:"dongleId,omitempty"`
	Model        string     `json:"model,omitempty"`
	Firmware     string     `json:"firmware,omitempty"`
	Manufactured *time.Time `json:"manufactured,omitempty"`
	Vendor       string     `json:"vendor,omitempty"` // its public code as text
	PoolCounter  uint64     `json:"poolCounter,omitempty"`
	PoolBytes    int        `json:"poolBytes,omitempty"`
	PoolProblem  string     `json:"poolProblem,omitempty"` // why the pool license cannot be read
	Batch        uint64     `json:"batch,omitempty"`       // the newest one it has signed
	Head         string     `json:"head,omitempty"`
	Horizon      *time.Time `json:"horizon,omitempty"`    // when the last seat that left is due
	WritesLeft   *uint32    `json:"writesLeft,omitempty"` // 0 is told too
	Clock        *time.Time `json:"clock,omitempty"`
	Health       string     `json:"health,omitempty"`
}

var models = map[uint8]string{0: "unknown", 1: "DL", 2: "Sign", 3: "Time", 4: "Code", 5: "Code Time"}

// keyBus is a bus that also knows how many devices have not said yet what they are.
type keyBus interface {
	transport.Bus
	Silent() int
}

// list gives the keys, and waits that long for devices that have not said yet what they
// are. It says how many still have not then.
func list(ctx context.Context, bus keyBus, wait time.Duration) (infos []transport.KeyInfo, silent int, err error) {
	for end := time.Now().Add(wait); ; {
		if infos, err = bus.Keys(ctx); err != nil {
			return nil, 0, err
		}
		if silent = bus.Silent(); silent == 0 || !time.Now().Before(end) {
			return infos, silent, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// inspect asks these keys, which are on a bus with those of the options.
func inspect(ctx context.Context, bus transport.Bus, infos []transport.KeyInfo, opts usb.Options) ([]key, error) {
	keys := []key{}
	for _, i := range infos {
		k := key{BusID: string(i.ID), Serial: i.Serial}
		if err := k.ask(ctx, bus, i.ID); err != nil {
			k = key{BusID: k.BusID, Serial: k.Serial, Problem: err.Error(), Advice: advice(err, opts)}
		}
		keys = append(keys, k)
	}
	return keys, ctx.Err()
}

// patience is how long one key may take for everything.
const patience = 30 * time.Second

func (k *key) ask(ctx context.Context, bus transport.Bus, id transport.KeyID) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d, err := device.Open(ctx, bus, id)
	if err != nil {
		return err
	}
	defer d.Close()
	info, err := d.Info(ctx)
	if err != nil {
		return err
	}
	k.ID, k.Model, k.Firmware, k.Vendor = info.ID, models[info.Model], info.Firmware, licensing.PublicCodeText(info.Vendor)
	k.Manufactured, k.WritesLeft, k.Health = &info.Manufactured, &info.WritesLeft, health(info, d.Worn() != nil)
	pool, err := d.Pool(ctx)
	switch k.PoolCounter, k.PoolBytes = info.PoolCounter, len(pool); {
	case err == nil, errors.Is(err, device.ErrNoPool):
	case errors.Is(err, licensing.OutdatedVersion):
		k.PoolProblem, k.Advice = err.Error(), newer
	default:
		return err
	}
	c, err := d.Checkpoint(ctx)
	if err != nil {
		return err
	}
	if k.Batch = c.Seq; c.Seq > 0 {
		due := time.Unix(c.Horizon, 0).UTC()
		k.Head, k.Horizon = hex.EncodeToString(c.Head[:]), &due
	}
	if info.HasClock && !info.ClockDied {
		now, err := d.Time(ctx)
		if err != nil {
			return err
		}
		k.Clock = &now
	}
	return nil
}

// fewWrites is when a key should be replaced soon: at a thousand batches a day in a
// few months.
const fewWrites = 100_000

// health tells how a key is. One that is spent has no writes left but those it keeps back.
func health(i device.Info, spent bool) string {
	switch {
	case i.WornOut:
		return "worn out: it can be read, and signs nothing more"
	case spent:
		return "worn out: it can be read, and keeps its last writes back"
	case i.ClockDied:
		return "the battery of its clock is empty"
	case i.WritesLeft < fewWrites:
		return "nearly worn out"
	}
	return "good"
}

// newer is what to do about what this program does not know yet.
const newer = "it is newer than this program: run a later version of it"

// advice says what to do about a key, one of the options, that cannot be asked.
func advice(err error, opts usb.Options) string {
	ids := ""
	if opts != (usb.Options{}) {
		ids = fmt.Sprintf(" -usb-ids %04x:%04x", opts.Vendor, opts.Product)
	}
	switch {
	case errors.Is(err, usb.ErrPermission):
		return "on Linux: keyinfo" + ids + " -udev-rule | sudo tee /etc/udev/rules.d/70-sojourn.rules && sudo udevadm control --reload, and plug it in again; where you are logged in from afar: sudo usermod -aG plugdev $USER too, and log in again; or run this as root"
	case errors.Is(err, transport.ErrBusy):
		return "a program uses it, a license manager probably: end that one first, or ask it"
	case errors.Is(err, transport.ErrNoKey):
		return "it was pulled out: plug it in again"
	case errors.Is(err, usb.ErrNeighbour):
		return "pull out the other device, the one that cannot be read; this key may be as good as ever"
	case errors.Is(err, usb.ErrDriver):
		return "on Windows give the key the driver WinUSB, which Zadig (https://zadig.akeo.ie) does; elsewhere update libusb and the operating system"
	case errors.Is(err, usb.ErrMemory):
		return "end other programs; on Linux: echo 64 | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb"
	case errors.Is(err, usb.ErrLibrary):
		return "pull it out and plug it in again; if that does not help update libusb"
	case errors.Is(err, usb.ErrForeign):
		return "it is not a key that this program knows; a later version of it may"
	case errors.Is(err, licensing.OutdatedVersion):
		return newer
	}
	return "pull it out and plug it in again; if that does not help it may be broken"
}

func writeJSON(w io.Writer, keys []key) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(keys)
}

func writeTable(w io.Writer, keys []key) error {
	if len(keys) == 0 {
		_, err := fmt.Fprintln(w, "no key is plugged in")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, k := range keys {
		if i > 0 {
			fmt.Fprintln(t)
		}
		row := func(name, format string, a ...any) { fmt.Fprintf(t, "%s\t"+format+"\n", append([]any{name}, a...)...) }
		row("key", "%s", k.BusID)
		row("serial", "%s", k.Serial)
		if k.Problem != "" {
			row("problem", "%s", k.Problem)
			row("advice", "%s", k.Advice)
			continue
		}
		row("id", "%d", k.ID)
		row("model", "%s, firmware %s, of %s", k.Model, k.Firmware, k.Manufactured.Format(time.DateOnly))
		row("vendor", "%s", k.Vendor)
		switch {
		case k.PoolProblem != "":
			row("pool", "license %d, %s", k.PoolCounter, k.PoolProblem)
			row("advice", "%s", k.Advice)
		case k.PoolCounter == 0:
			row("pool", "none")
		default:
			row("pool", "license %d, %d bytes", k.PoolCounter, k.PoolBytes)
		}
		if k.Batch == 0 {
			row("checkpoint", "none yet")
		} else {
			row("checkpoint", "batch %d, head %.16s…, last seat due %s", k.Batch, k.Head, k.Horizon.Format(time.RFC3339))
		}
		row("writes left", "%d", *k.WritesLeft)
		if k.Clock != nil {
			row("clock", "%s", k.Clock.Format(time.RFC3339))
		}
		row("health", "%s", k.Health)
	}
	return t.Flush()
}
