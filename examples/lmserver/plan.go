package main

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sojournlm/sojourn/licensing/issuer"
)

// plan is a simulated key as -simulate describes it.
type plan struct {
	ID       uint32
	Model    uint8
	Products []issuer.Product
}

// Bounds of what a key can be given.
const (
	maxID    = 0xFFFFFFFE // of a key, product or feature
	maxModel = 5
	maxSeats = 1 << 24
	maxTime  = 253402300799 // the end of the year 9999
	max32    = 0xFFFFFFFF
)

// timeModel is the model of a key whose description names none: one with a clock.
const timeModel = 3

// parsePlans reads an array of keys in the field names of the API. Its error
// names the field.
func parsePlans(text []byte) ([]plan, error) {
	var fault error
	var plans []plan
	first := make(map[uint32]int)
	for i, v := range parseJSON(text, &fault).required().list() {
		p := readPlan(v)
		if j, twice := first[p.ID]; twice {
			v.blame("dongleId: %d is that of [%d] too", p.ID, j)
		}
		first[p.ID] = i
		if fault != nil {
			return nil, fault
		}
		if err := p.check(v.path); err != nil {
			return nil, err
		}
		plans = append(plans, p)
	}
	return plans, fault
}

func readPlan(v value) plan {
	key := v.object("dongleId", "dongleModel", "vendor", "products")
	p := plan{
		ID:    uint32(key("dongleId").required().number(1, maxID)),
		Model: timeModel,
	}
	if model := key("dongleModel"); model.raw != nil {
		p.Model = uint8(model.number(1, maxModel))
	}
	vendor := key("vendor").required().object("publicCode")("publicCode").required()
	if code := vendor.number(0, max32); code != demoVendor {
		vendor.blame("%d, want %d: the demo vendor signs the pools of simulated keys", code, demoVendor)
	}
	for _, v := range key("products").required().list() {
		p.Products = append(p.Products, readProduct(v))
	}
	return p
}

func readProduct(v value) issuer.Product {
	product := v.object("productNumber", "name", "modification", "features")
	p := issuer.Product{
		Number:       uint32(product("productNumber").required().number(0, maxID)),
		Name:         product("name").required().text(),
		Modification: uint32(product("modification").number(0, max32)),
	}
	for _, v := range product("features").required().list() {
		p.Features = append(p.Features, readFeature(v))
	}
	if len(p.Features) == 0 {
		product("features").blame("empty")
	}
	return p
}

func readFeature(v value) issuer.Feature {
	feature := v.object("featureNumber", "name", "maxConcurrentResource", "remoteMode", "consumptionMode",
		"validFromDate", "validUpToDate", "maxRunCounter", "flags")
	flags := feature("flags").object("isDetachable", "rdpForbidden", "vmForbidden")
	return issuer.Feature{
		Number:       uint32(feature("featureNumber").required().number(0, maxID)),
		Name:         feature("name").required().text(),
		Seats:        uint32(feature("maxConcurrentResource").required().number(0, maxSeats)),
		Remote:       issuer.RemoteMode(feature("remoteMode").number(uint64(issuer.Local), uint64(issuer.LocalAndRemote))),
		Consumption:  issuer.Consumption(feature("consumptionMode").number(uint64(issuer.PerStation), uint64(issuer.PerProcess))),
		ValidFrom:    date(feature("validFromDate")),
		ValidUpTo:    date(feature("validUpToDate")),
		MaxRuns:      uint32(feature("maxRunCounter").number(0, max32)),
		Detachable:   flags("isDetachable").flag(),
		RDPForbidden: flags("rdpForbidden").flag(),
		VMForbidden:  flags("vmForbidden").flag(),
	}
}

// date reads Unix seconds, 0 for none.
func date(v value) time.Time {
	seconds := v.number(0, maxTime)
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// sign makes the pool license that gives a key what was planned.
func (p plan) sign(key ed25519.PublicKey, counter uint64, now time.Time) ([]byte, error) {
	return issuer.Sign(demoKey(), issuer.Pool{
		Key: p.ID, KeyPublic: key, Vendor: demoVendor, Counter: counter, Issued: now, Products: p.Products,
	})
}

// check tells whether the plan can be signed: what holds between fields is known
// there.
func (p plan) check(path string) error {
	_, err := p.sign(demoPublic(), 1, time.Unix(1, 0))
	if field, ok := errors.AsType[*issuer.Error](err); ok {
		begin := regexp.MustCompile(`(^|\.)[A-Z]`)
		return fmt.Errorf("%s.%s: %s", path, begin.ReplaceAllStringFunc(field.Field, strings.ToLower), field.Reason)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
