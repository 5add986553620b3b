package document

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

var (
	cddlComment = regexp.MustCompile(`;.*`)
	cddlRule    = regexp.MustCompile(`(?m)^([a-z0-9-]+) = (\{[^}]*\}|.*)$`)
	cddlField   = regexp.MustCompile(`(\d+): ([^,]+),`)
)

// cddl is documents.cddl as this test needs it: the fields of each map by
// number, and what every other name stands for.
type cddl struct {
	maps  map[string]map[string]string
	names map[string]string
}

func readCDDL(t *testing.T) cddl {
	t.Helper()
	text := cddlComment.ReplaceAllString(string(ok(os.ReadFile("documents.cddl"))(t)), "")
	c := cddl{map[string]map[string]string{}, map[string]string{}}
	for _, rule := range cddlRule.FindAllStringSubmatch(text, -1) {
		name, body := rule[1], rule[2]
		if !strings.HasPrefix(body, "{") {
			c.names[name] = strings.TrimSpace(body)
			continue
		}
		c.maps[name] = map[string]string{}
		for _, f := range cddlField.FindAllStringSubmatch(body, -1) {
			c.maps[name][f[1]] = strings.TrimSpace(f[2])
		}
	}
	return c
}

// shape is what a type is at its outside.
func (c cddl) shape(t *testing.T, typ string) string {
	t.Helper()
	typ, _, _ = strings.Cut(typ, " / ")
	switch {
	case c.maps[typ] != nil:
		return "map of " + typ
	case strings.HasPrefix(typ, "["):
		return "array of " + typ[strings.LastIndex(typ, " ")+1:len(typ)-1]
	case strings.HasPrefix(typ, `"`), strings.HasPrefix(typ, "tstr"):
		return "text"
	case strings.HasPrefix(typ, "bstr"):
		return "bytes"
	case typ == "bool", typ == "any":
		return typ
	case typ == "uint", typ[0] >= '0' && typ[0] <= '9', strings.HasPrefix(typ, "&("):
		return "number"
	case c.names[typ] != "":
		return c.shape(t, c.names[typ])
	}
	t.Fatalf("documents.cddl: what is %q?", typ)
	return ""
}

// TestCDDL holds documents.cddl to the code: the same maps with the same fields
// of the same shapes, and no rule that nothing uses.
func TestCDDL(t *testing.T) {
	c := readCDDL(t)
	structs := map[string]reflect.Type{
		"envelope": reflect.TypeFor[Envelope](), "pool-license": reflect.TypeFor[PoolFile](),
		"signed-head": reflect.TypeFor[SignedHead](), "pool-head": reflect.TypeFor[PoolHead](),
		"binding": reflect.TypeFor[Binding](), "binding-rule": reflect.TypeFor[BindingRule](),
		"feature": reflect.TypeFor[Feature](), "license": reflect.TypeFor[LicenseFile](),
		"feature-leaf": reflect.TypeFor[FeatureLeaf](), "proof": reflect.TypeFor[Proof](),
		"return": reflect.TypeFor[Return](), "fingerprint": reflect.TypeFor[Fingerprint](),
		"computer": reflect.TypeFor[Recipient](), "component": reflect.TypeFor[Component](),
		"entry": reflect.TypeFor[Entry](), "terms": reflect.TypeFor[Terms](),
		"feature-ref": reflect.TypeFor[FeatureRef](), "request-key": reflect.TypeFor[RequestKey](),
		"header": reflect.TypeFor[Header](), "witness": reflect.TypeFor[Witness](),
		"checkpoint": reflect.TypeFor[Checkpoint](), "peer-request": reflect.TypeFor[PeerRequest](),
		"peer-answer": reflect.TypeFor[PeerAnswer](),
	}
	names := map[reflect.Type]string{}
	for name, typ := range structs {
		names[typ] = name
		if c.maps[name] == nil {
			t.Errorf("documents.cddl has no %s", name)
		}
	}
	for name, fields := range c.maps {
		typ := structs[name]
		if typ == nil {
			t.Errorf("documents.cddl has %s, the code has not", name)
			continue
		}
		seen := 0
		for _, f := range reflect.VisibleFields(typ) {
			number, tagged := strings.CutSuffix(f.Tag.Get("cbor"), ",keyasint")
			if !tagged {
				continue
			}
			seen++
			if fields[number] == "" {
				t.Errorf("%s: no field %s (%s)", name, number, f.Name)
				continue
			}
			got, want := c.shape(t, fields[number]), shapeOf(f.Type, names)
			if got != want && !(want == "raw" && (got == "any" || got == "map of feature")) &&
				!(want == "array of raw" && got == "array of feature") {
				t.Errorf("%s: field %s (%s) is %s, in the code %s", name, number, f.Name, got, want)
			}
		}
		if seen != len(fields) {
			t.Errorf("%s has %d fields, in the code %d", name, len(fields), seen)
		}
	}
}

func shapeOf(t reflect.Type, names map[reflect.Type]string) string {
	switch {
	case t == reflect.TypeFor[cborRawMessage]():
		return "raw"
	case t == reflect.TypeFor[Path](), t == reflect.TypeFor[Hash](), t == reflect.TypeFor[[]byte]():
		return "bytes"
	case t.Kind() == reflect.Struct:
		return "map of " + names[t]
	case t.Kind() == reflect.Slice:
		return "array of " + strings.TrimPrefix(shapeOf(t.Elem(), names), "map of ")
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "bool"
	}
	return "number"
}
