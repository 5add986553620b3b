package issuer

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sojournlm/sojourn/internal/document"
)

// Error says which field of a [Pool] a license cannot have, and why.
type Error struct {
	Field  string // such as Products[0].Features[2].Name
	Reason string
}

func (e *Error) Error() string { return "issuer: " + e.Field + ": " + e.Reason }

// refuse names the field and takes the reason out of what the document says.
func refuse(field string, err error) error {
	if doc, ok := errors.AsType[*document.Error](err); ok {
		return &Error{field, doc.Reason}
	}
	return &Error{field, err.Error()}
}

// Sign makes the pool license of a key, signed by the vendor's Ed25519 key, as
// a file to carry to the license manager that has the key. Products and
// features may stand in any order. A field that cannot be signed is an [*Error];
// any other error is the signer's, or says that the whole is too large.
func Sign(vendor crypto.Signer, pool Pool) ([]byte, error) {
	if key, plain := vendor.(ed25519.PrivateKey); vendor == nil || plain && len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("issuer: the vendor's key has %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	if err := pool.check(); err != nil {
		return nil, err
	}
	binding, err := pool.Binding.document()
	if err != nil {
		return nil, err
	}
	features, err := pool.features()
	if err != nil {
		return nil, err
	}
	signed, err := document.SignPool(vendor, document.PoolHead{
		Key:         uint64(pool.Key),
		KeyPublic:   pool.KeyPublic,
		Vendor:      pool.Vendor,
		Counter:     pool.Counter,
		Issued:      pool.Issued.Unix(),
		Binding:     binding,
		MaxDuration: int64(pool.MaxDuration / time.Second),
	}, features)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return document.Wrap(document.KindPool, signed.Head.Key, 0, signed.Bytes()), nil
}

func (p Pool) check() error {
	switch {
	case !document.ValidID(uint64(p.Key)):
		return &Error{"Key", fmt.Sprintf("%d is not the id of a key", p.Key)}
	case len(p.KeyPublic) != ed25519.PublicKeySize:
		return &Error{"KeyPublic", fmt.Sprintf("%d bytes, want %d", len(p.KeyPublic), ed25519.PublicKeySize)}
	case [ed25519.PublicKeySize]byte(p.KeyPublic) == [ed25519.PublicKeySize]byte{}:
		return &Error{"KeyPublic", "all zero: it was never set"}
	case p.Counter == 0:
		return &Error{"Counter", "0, want 1 or more"}
	case p.Issued.IsZero():
		return &Error{"Issued", "not given"}
	case p.MaxDuration < 0 || p.MaxDuration%time.Second != 0:
		return &Error{"MaxDuration", fmt.Sprintf("%v is not a number of whole seconds", p.MaxDuration)}
	}
	_, err := seconds("Issued", p.Issued)
	return err
}

// document gives the binding as it is signed, rules ordered by component.
func (b Binding) document() (document.Binding, error) {
	if len(b.Rules) == 0 {
		if b.MaxChanges != 0 {
			return document.Binding{}, &Error{"Binding.MaxChanges", fmt.Sprintf("%d, but there are no rules", b.MaxChanges)}
		}
		return document.DefaultBinding(), nil
	}
	out := document.Binding{MaxChanges: b.MaxChanges}
	for _, r := range b.Rules {
		out.Rules = append(out.Rules, document.BindingRule(r))
	}
	slices.SortFunc(out.Rules, func(a, b document.BindingRule) int { return strings.Compare(a.Component, b.Component) })
	if err := out.Check("binding"); err != nil {
		return document.Binding{}, refuse("Binding.Rules", err)
	}
	return out, nil
}

// features gives all features as they are signed, ordered by reference.
func (p Pool) features() ([]document.Feature, error) {
	var out []document.Feature
	named := map[document.FeatureRef]string{} // where a product or feature was first
	once := func(ref document.FeatureRef, field string) error {
		if first, twice := named[ref]; twice {
			return &Error{field, "has the number of " + first}
		}
		named[ref] = field
		return nil
	}
	for i, product := range p.Products {
		field := fmt.Sprintf("Products[%d]", i)
		// No feature has the number 0xFFFFFFFF, so it can stand for the product.
		if err := once(document.FeatureRef{ProductNumber: product.Number, Modification: product.Modification, FeatureNumber: 0xFFFFFFFF}, field); err != nil {
			return nil, err
		}
		if err := document.CheckText(product.Name); err != nil {
			return nil, &Error{field + ".Name", err.Error()}
		}
		if len(product.Features) == 0 {
			return nil, &Error{field + ".Features", "none, but a license knows a product by its features"}
		}
		for j, f := range product.Features {
			field := fmt.Sprintf("%s.Features[%d]", field, j)
			feature, err := f.document(field, product)
			if err != nil {
				return nil, err
			}
			if err := once(feature.Ref(), field); err != nil {
				return nil, err
			}
			out = append(out, feature)
		}
	}
	if len(out) == 0 || len(out) > document.MaxFeatures {
		return nil, &Error{"Products", fmt.Sprintf("%d features in all, want 1 to %d", len(out), document.MaxFeatures)}
	}
	slices.SortFunc(out, func(a, b document.Feature) int { return a.Ref().Compare(b.Ref()) })
	return out, nil
}

// document gives the feature as it is signed.
func (f Feature) document(field string, product Product) (document.Feature, error) {
	from, err := seconds(field+".ValidFrom", f.ValidFrom)
	if err != nil {
		return document.Feature{}, err
	}
	upTo, err := seconds(field+".ValidUpTo", f.ValidUpTo)
	if err != nil {
		return document.Feature{}, err
	}
	if err := document.CheckText(f.Name); err != nil {
		return document.Feature{}, &Error{field + ".Name", err.Error()}
	}
	out := document.Feature{
		ProductNumber:   product.Number,
		Modification:    product.Modification,
		ProductName:     product.Name,
		FeatureNumber:   f.Number,
		Name:            f.Name,
		Seats:           f.Seats,
		RemoteMode:      uint32(cmp.Or(f.Remote, LocalAndRemote)),
		ConsumptionMode: uint32(f.Consumption),
		ValidFrom:       from,
		ValidUpTo:       upTo,
		MaxRuns:         f.MaxRuns,
		Detachable:      f.Detachable,
		RDPForbidden:    f.RDPForbidden,
		VMForbidden:     f.VMForbidden,
	}
	if err := out.Check("feature"); err != nil {
		return document.Feature{}, refuse(field, err)
	}
	return out, nil
}

// seconds is a time as documents hold it: 0 for the zero time.
func seconds(field string, t time.Time) (int64, error) {
	if t.IsZero() {
		return 0, nil
	}
	// 1970 itself would be read as no time at all.
	if unix := t.Unix(); unix > 0 && unix <= document.MaxTime {
		return unix, nil
	}
	return 0, &Error{field, fmt.Sprintf("%s is not between 1970 and 9999", t.UTC().Format(time.RFC3339))}
}
