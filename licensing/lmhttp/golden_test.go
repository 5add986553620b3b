package lmhttp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sojournlm/sojourn/internal/document"
	"github.com/sojournlm/sojourn/licensing"
)

var update = flag.Bool("update", false, "rewrite the golden exchanges")

// exchange is one request and what it is answered with, in testdata/NAME.http.
type exchange struct {
	name    string
	prepare func(*world) // before the managers start
	arrange func(*world) // afterwards
	laptop  bool         // it is asked of the laptop, not of the office
	method  string
	target  string // below BasePath
	body    string
	header  []string // names and values
}

const (
	detachBody = `{ "offline" : true, "lmsId": "2957062961", "dongleId" : 4006242369, "durationInSec" : 60, "productFeatures": [ { "productNumber": 29, "featureNumber": 4 } ] }`
	cancelBody = `{ "offline" : true, "dongleId" : 1833675760 }`
	remoteBody = `{"offline":false,"lmsId":"2957062961","dongleId":4006242369,"durationInSec":60,"productFeatures":[{"productNumber":29,"featureNumber":4}]}`
	idBody     = `{ "licenseId" : "956653681540574192" }`
	editBody   = `{ "hostName": "RENAMED", "lmsId": "2957062961" }`
)

func detachOf(key uint64, features string) string {
	return fmt.Sprintf(`{"offline":true,"lmsId":"2957062961","dongleId":%d,"durationInSec":3600,"productFeatures":[%s]}`, key, features)
}

func installOf(words string) string { return fmt.Sprintf(`{"license":%q}`, fileName(words)) }

func fingerprintOf(words, more string) string {
	return fmt.Sprintf(`{"fingerprint":%q%s}`, fileName(words), more)
}

// The states that exchanges start from.
var (
	outToLaptop = func(w *world) { w.detached(w.laptop) }
	outToOffice = func(w *world) { w.detached(w.office) }
	installed   = (*world).installed
	seen        = func(w *world) { _, err := w.laptop.Keys(w.ctx, licensing.Filter{}); w.ok(err) }
	cancelled   = (*world).cancelled
	expired     = func(w *world) { w.detached(w.laptop); w.clock.turn(time.Hour) }
	pulledOut   = func(w *world) { w.keys[keyA].Unplug() }
	// away is that the key was not there when the program started.
	away = func(w *world) {
		w.detached(w.laptop)
		w.ok(w.office.Close(w.ctx))
		w.keys[keyA].Unplug()
		w.ok(w.office.start("B2291-PC"))
	}
	installedTwice = func(w *world) {
		for _, number := range []uint32{4, 5} {
			out, err := w.office.Detach(w.ctx, licensing.DetachRequest{
				Offline: true, Recipient: w.laptop.lmsID, Key: keyA, Duration: time.Hour,
				Features: []licensing.Selector{{ProductNumber: 29, FeatureNumber: number}},
			}, nil)
			w.ok(err)
			w.ok(w.laptop.Install(w.ctx, out.License, nil))
		}
		// They are listed by their ids, so they are named as they are listed.
		var ambiguous *licensing.Error
		if _, err := w.laptop.CancelDetach(w.ctx, licensing.CancelRequest{Offline: true, License: keyA}, nil); !errors.As(err, &ambiguous) {
			w.Fatal(err)
		}
		for i, d := range ambiguous.Details {
			w.names = append(w.names, name{[]string{licenseID, "1066022486411245296"}[i], strconv.FormatUint(d.License, 10)})
		}
	}
	forgotten = func(w *world) { w.ok(w.office.RemoveFingerprint(w.ctx, w.laptop.lmsID, nil)) }
)

// exchanges are all golden ones. Those of the API documentation are sent as they
// stand there.
var exchanges = append(append([]exchange{
	{name: "detach", method: "POST", target: "/detach", body: detachBody},
	{name: "detach-documented", method: "POST", target: "/detach",
		prepare: func(w *world) { w.rename(laptopID, "14314416473658448602") },
		body: `{ "offline" : true, "lmsId": "14314416473658448602", "dongleId" : 1368487351, "durationInSec" : 3600, ` +
			`"concurrentResourceToConsume" : 1, "productFeatures": [ { "productNumber": 16, "featureNumber": 2 }, { "productNumber": 4, "featureNumber": 1 } ] }`},
	{name: "detach-whole-product", method: "POST", target: "/detach", body: detachOf(keyA, `{"productNumber":29}`)},
	{name: "detach-again-with-key", method: "POST", target: "/detach", body: detachBody, header: []string{"Idempotency-Key", "trip-1"},
		arrange: func(w *world) {
			w.office.ask("POST", BasePath+"/detach", w.unmask(detachBody), "Idempotency-Key", "trip-1")
		}},
	{name: "detach-other-request-with-key", method: "POST", target: "/detach", body: detachOf(keyA, `{"productNumber":29}`), header: []string{"Idempotency-Key", "trip-1"},
		arrange: func(w *world) {
			w.office.ask("POST", BasePath+"/detach", w.unmask(detachBody), "Idempotency-Key", "trip-1")
		}},
	{name: "detach-without-features", method: "POST", target: "/detach", body: `{"offline":true,"lmsId":"2957062961","dongleId":4006242369,"durationInSec":60}`},
	{name: "detach-two-modifications", method: "POST", target: "/detach", body: detachOf(keyB, `{"productNumber":17}`)},
	{name: "detach-too-long", method: "POST", target: "/detach", body: detachBody,
		prepare: func(w *world) { w.policy = licensing.Policy{MaxDuration: 30 * time.Second} }},
	{name: "detach-unknown-feature", method: "POST", target: "/detach", body: detachOf(keyA, `{"productNumber":29,"featureNumber":9}`)},
	{name: "detach-unknown-key", method: "POST", target: "/detach", body: detachOf(1234, `{"productNumber":29}`)},
	{name: "detach-unknown-computer", method: "POST", target: "/detach", body: detachBody, arrange: forgotten},
	{name: "detach-exhausted", method: "POST", target: "/detach",
		body: `{"offline":true,"lmsId":"2957062961","dongleId":4006242369,"durationInSec":60,"concurrentResourceToConsume":6,"productFeatures":[{"productNumber":29,"featureNumber":4}]}`},
	{name: "detach-several-reasons", method: "POST", target: "/detach",
		body: detachOf(keyB, `{"productNumber":16,"featureNumber":3},{"productNumber":16,"featureNumber":7},{"productNumber":99}`)},
	{name: "detach-twice", method: "POST", target: "/detach", body: detachBody, arrange: outToLaptop},
	{name: "detach-expired-feature", method: "POST", target: "/detach", body: detachOf(keyB, `{"productNumber":16,"featureNumber":7}`)},
	{name: "detach-key-pulled-out", method: "POST", target: "/detach", body: detachBody, arrange: pulledOut},
	{name: "detach-key-away", method: "POST", target: "/detach", body: detachBody, arrange: away},
	{name: "detach-online", method: "POST", target: "/detach",
		body: `{"offline":false,"lmsId":"102826192","dongleId":4006242369,"durationInSec":60,"productFeatures":[{"productNumber":29}]}`},
	{name: "detach-online-for-another", method: "POST", target: "/detach",
		body: `{"lmsId":"2957062961","dongleId":4006242369,"durationInSec":60,"productFeatures":[{"productNumber":29}]}`},

	{name: "canceldetach", method: "POST", target: "/canceldetach", body: cancelBody, arrange: installed, laptop: true},
	{name: "canceldetach-by-whole-id", method: "POST", target: "/canceldetach", body: `{"offline":true,"dongleId":"956653681540574192"}`, arrange: installed, laptop: true},
	{name: "canceldetach-by-origin", method: "POST", target: "/canceldetach", body: `{"offline":true,"dongleId":-288724927}`, arrange: installed, laptop: true},
	{name: "canceldetach-again", method: "POST", target: "/canceldetach", body: cancelBody, arrange: cancelled, laptop: true},
	{name: "canceldetach-ambiguous", method: "POST", target: "/canceldetach", body: `{"offline":true,"dongleId":4006242369}`, arrange: installedTwice, laptop: true},
	{name: "canceldetach-without-id", method: "POST", target: "/canceldetach", body: `{"offline":true}`, laptop: true},
	{name: "canceldetach-unknown", method: "POST", target: "/canceldetach", body: `{ "offline" : true, "dongleId" : 1368487351 }`, laptop: true},
	{name: "canceldetach-expired", method: "POST", target: "/canceldetach", body: cancelBody, laptop: true,
		arrange: func(w *world) { w.installed(); w.clock.turn(time.Hour) }},
	{name: "detach-remote", method: "POST", target: "/detach", body: remoteBody, prepare: connect, laptop: true},
	{name: "detach-remote-exhausted", method: "POST", target: "/detach", prepare: connect, laptop: true,
		body: strings.Replace(remoteBody, `"durationInSec":60`, `"durationInSec":60,"concurrentResourceToConsume":6`, 1)},
	{name: "detach-remote-pending", method: "POST", target: "/detach", body: remoteBody, prepare: connect, laptop: true,
		arrange: func(w *world) { w.cutOff(false) }},
	{name: "detach-remote-silent", method: "POST", target: "/detach", body: remoteBody, prepare: connect, laptop: true,
		arrange: (*world).silence},
	{name: "canceldetach-remote", method: "POST", target: "/canceldetach", body: `{"offline":false,"dongleId":1833675760}`,
		prepare: connect, laptop: true, arrange: func(w *world) { w.borrowed() }},
	{name: "canceldetach-remote-pending", method: "POST", target: "/canceldetach", body: `{"offline":false,"dongleId":1833675760}`,
		prepare: connect, laptop: true, arrange: func(w *world) { w.borrowed(); w.cutOff(false) }},
	{name: "canceldetach-remote-silent", method: "POST", target: "/canceldetach", body: `{"offline":false,"dongleId":1833675760}`,
		prepare: connect, laptop: true, arrange: func(w *world) { w.borrowed(); w.silence() }},
	{name: "intents", method: "GET", target: "/intents", prepare: connect, laptop: true, arrange: func(w *world) {
		out := w.borrowed()
		w.cutOff(false)
		_, err := w.laptop.CancelDetach(w.ctx, licensing.CancelRequest{License: out.LicenseID}, nil)
		if !errors.Is(err, licensing.ServerNotFound) {
			w.Fatal(err)
		}
	}},
	{name: "intents-none", method: "GET", target: "/intents"},
	{name: "intents-bad-page", method: "GET", target: "/intents?page=none"},
	{name: "peer-greeting", method: "POST", target: "/peer/messages", prepare: connect,
		body: fmt.Sprintf(`{"message":%q}`, base64.StdEncoding.EncodeToString(document.NewPeerGreeting(bytes.Repeat([]byte{7}, 32)).Bytes()))},
	{name: "peer-garbage", method: "POST", target: "/peer/messages", prepare: connect,
		body: fmt.Sprintf(`{"message":%q}`, base64.StdEncoding.EncodeToString([]byte("garbage")))},
	{name: "peer-keeps-to-itself", method: "POST", target: "/peer/messages", body: `{"message":"AAAA"}`},
	{name: "dongles-remote", method: "GET", target: "/dongles?limit=1", prepare: connect, laptop: true},
	{name: "features-remote", method: "GET", target: "/features?dongle=4006242369&feature=4", prepare: connect, laptop: true},
	{name: "tree-remote", method: "GET", target: "/dongles/products/features?dongle=4006242369&feature=4", prepare: connect, laptop: true},
	{name: "features-of-silent", method: "GET", target: "/features?dongle=4006242369&feature=4", prepare: connect, laptop: true,
		arrange: (*world).silence},
	{name: "fingerprints-found", method: "GET", target: "/fingerprints", prepare: connect, laptop: true, arrange: seen},
	{name: "fingerprints-remove-found", method: "DELETE", target: "/fingerprints?lmsId=102826192", prepare: connect, laptop: true, arrange: seen},
	{name: "fingerprints-silent", method: "GET", target: "/fingerprints", prepare: connect, laptop: true, arrange: (*world).silence},

	{name: "canceldetach-online", method: "POST", target: "/canceldetach", body: `{"offline":false,"dongleId":1833675760}`, arrange: installed, laptop: true},

	{name: "install", method: "POST", target: "/install", body: installOf("a license"), arrange: outToLaptop, laptop: true},
	{name: "install-return", method: "POST", target: "/install", body: installOf("a return"), arrange: cancelled},
	{name: "install-pool", method: "POST", target: "/install", body: installOf("an update of the pool"),
		arrange: func(w *world) {
			w.names = append(w.names, name{fileName("an update of the pool"), w.poolA(2).String()})
		}},
	{name: "install-foreign", method: "POST", target: "/install", body: installOf("av5NMggAAAAIBwAAS"), laptop: true},
	{name: "install-altered", method: "POST", target: "/install", body: installOf("an altered license"), laptop: true,
		arrange: func(w *world) {
			file := w.detached(w.laptop).License
			file[len(file)-1] ^= 1
			w.names = append(w.names, name{fileName("an altered license"), file.String()})
		}},
	{name: "install-again", method: "POST", target: "/install", body: installOf("a license"), arrange: cancelled, laptop: true},
	{name: "install-expired", method: "POST", target: "/install", body: installOf("a license"), arrange: expired, laptop: true},
	{name: "install-for-another", method: "POST", target: "/install", body: installOf("a license"), arrange: outToLaptop},
	{name: "install-key-elsewhere", method: "POST", target: "/install", body: installOf("a return"), arrange: cancelled, laptop: true},
	{name: "install-fingerprint", method: "POST", target: "/install", body: installOf("the fingerprint of the laptop")},

	{name: "detached", method: "GET", target: "/detached/products/features", arrange: outToOffice},
	{name: "detached-filtered", method: "GET", target: "/detached/products/features?search=b2291&dongle=4006242369&product=29&feature=4", arrange: outToOffice},
	{name: "detached-documented-query", method: "GET", arrange: outToOffice,
		target: "/detached/products/features?search=text_or_value_for_search&dongle=3043211265&product=12&feature=2"},
	{name: "detached-bad-filter", method: "GET", target: "/detached/products/features?dongle=abc"},
	{name: "detached-away", method: "GET", target: "/detached/products/features", arrange: away},
	{name: "detached-download-away", method: "POST", target: "/detached/download", body: idBody, arrange: away},
	{name: "detached-download", method: "POST", target: "/detached/download", body: idBody, arrange: outToLaptop},
	{name: "detached-download-short", method: "POST", target: "/detached/download", body: `{"licenseId":1.5}`},
	{name: "detached-download-expired", method: "POST", target: "/detached/download", body: idBody, arrange: expired},

	{name: "cancelled", method: "GET", target: "/cancelled/licenses", arrange: cancelled, laptop: true},
	{name: "cancelled-none", method: "GET", target: "/cancelled/licenses"},
	{name: "cancelled-bad-page", method: "GET", target: "/cancelled/licenses?page=0&limit=10"},
	{name: "cancelled-download", method: "POST", target: "/cancelled/download", body: idBody, arrange: cancelled, laptop: true},
	{name: "cancelled-download-without-id", method: "POST", target: "/cancelled/download", body: `{}`},
	{name: "cancelled-download-unknown", method: "POST", target: "/cancelled/download", body: `{ "licenseId" : "13176143868035619256" }`},
	{name: "cancelled-delete", method: "DELETE", target: "/cancelled/licenses", body: idBody, arrange: cancelled, laptop: true},
	{name: "cancelled-delete-by-query", method: "DELETE", target: "/cancelled/licenses?licenseId=956653681540574192", arrange: cancelled, laptop: true},
	{name: "cancelled-delete-without-id", method: "DELETE", target: "/cancelled/licenses"},
	{name: "cancelled-delete-unknown", method: "DELETE", target: "/cancelled/licenses", body: `{ "licenseId" : "13176143868035619256" }`},

	{name: "environment", method: "GET", target: "/environment"},
	{name: "dongles", method: "GET", target: "/dongles"},
	{name: "dongles-of-recipient", method: "GET", target: "/dongles", arrange: installed, laptop: true},
	{name: "dongles-pulled-out", method: "GET", target: "/dongles?search=400624&limit=1", arrange: pulledOut},
	{name: "dongles-away", method: "GET", target: "/dongles?search=400624&limit=1", arrange: away},
	{name: "dongles-bad-limit", method: "GET", target: "/dongles?limit=-1"},
	{name: "features", method: "GET", target: "/features?dongle=4006242369", arrange: outToOffice},
	{name: "features-of-recipient", method: "GET", target: "/features", arrange: installed, laptop: true},
	{name: "features-page", method: "GET", target: "/features?page=2&limit=2"},
	{name: "features-search", method: "GET", target: "/features?search=GR%C3%96SSE"},
	{name: "features-bad-product", method: "GET", target: "/features?product=4294967296"},
	{name: "tree", method: "GET", target: "/dongles/products/features?search=demonvk&product=16"},
	{name: "tree-page", method: "GET", target: "/dongles/products/features?page=2&limit=1"},
	{name: "tree-bad-filter", method: "GET", target: "/dongles/products/features?feature=x"},
	{name: "openapi", method: "GET", target: "/openapi.yaml"},

	{name: "error-unknown-path", method: "GET", target: "/detach/"},
	{name: "error-method", method: "GET", target: "/detach"},
	{name: "error-media-type", method: "POST", target: "/detach", body: detachBody, header: []string{"Content-Type", "text/plain"}},
	{name: "error-too-large", method: "POST", target: "/install", body: "", header: []string{"Content-Type", "application/json", "Content-Length", "1048577"}},
	{name: "error-token", method: "GET", target: "/environment", prepare: func(w *world) { w.opts.Token = "secret" }},
	{name: "error-host", method: "GET", target: "/environment", header: []string{"Host", "license.example.com"}},
	{name: "error-origin", method: "POST", target: "/detach", body: detachBody, header: []string{"Origin", "https://example.com"}},
	{name: "error-closed", method: "GET", target: "/environment", arrange: func(w *world) { w.ok(w.office.Close(w.ctx)) }},
}, fingerprintExchanges("fingerprints")...), fingerprintExchanges("fingerpints")...)

// fingerprintExchanges are those of either spelling of the path.
func fingerprintExchanges(spelling string) []exchange {
	path := "/" + spelling
	list := []exchange{
		{name: "list", method: "GET", target: path},
		{name: "list-search", method: "GET", target: path + "?search=b2291-pc"},
		{name: "list-bad-page", method: "GET", target: path + "?page=1e3"},
		{name: "add", method: "POST", target: path, body: fingerprintOf("the fingerprint of the laptop", ""), arrange: forgotten},
		{name: "add-whole", method: "POST", target: path, arrange: forgotten,
			body: fingerprintOf("the fingerprint of the laptop", `,"auto":true,"remote":false,"hostName":"B2291-PC","issueTime":1650641433,"lmsId":"2957062961"`)},
		{name: "add-contradiction", method: "POST", target: path, body: fingerprintOf("the fingerprint of the laptop", `,"lmsId":"1"`), arrange: forgotten},
		{name: "add-self", method: "POST", target: path, body: fingerprintOf("the fingerprint of the office", "")},
		{name: "add-older", method: "POST", target: path, body: fingerprintOf("the fingerprint of the laptop", ""),
			arrange: func(w *world) { w.newerLaptop() }},
		{name: "edit", method: "PUT", target: path, body: editBody},
		{name: "edit-without-id", method: "PUT", target: path, body: `{"hostName":"RENAMED"}`},
		{name: "edit-self", method: "PUT", target: path, body: `{"hostName":"RENAMED","lmsId":102826192}`},
		{name: "edit-unknown", method: "PUT", target: path, body: editBody, arrange: forgotten},
		{name: "remove", method: "DELETE", target: path, body: `{ "lmsId": "2957062961" }`},
		{name: "remove-by-query", method: "DELETE", target: path + "?lmsId=2957062961"},
		{name: "remove-without-id", method: "DELETE", target: path, body: `{}`},
		{name: "remove-self", method: "DELETE", target: path, body: `{"lmsId":"102826192"}`},
		{name: "remove-unknown", method: "DELETE", target: path, body: `{ "lmsId": "2957062961" }`, arrange: forgotten},
	}
	for i := range list {
		list[i].name = spelling + "-" + list[i].name
	}
	return list
}

func TestExchanges(t *testing.T) {
	names := make(map[string]bool)
	for _, x := range exchanges {
		if names[x.name] {
			t.Fatalf("two exchanges are called %s", x.name)
		}
		names[x.name] = true
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join("testdata", x.name+".http")
			got, log := x.run(t)
			checkLog(t, &x, log)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the exchange is not the golden one (-want +got):\n%s", diff)
			}
		})
	}
	files, err := filepath.Glob("testdata/*.http")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !names[strings.TrimSuffix(filepath.Base(f), ".http")] {
			t.Errorf("%s belongs to no exchange", f)
		}
	}
}

// wrongToken is a secret that comes with every exchange and shows nowhere.
const wrongToken = "8c1f0a97"

// run makes the exchange in a world of its own. It gives its transcript and what
// was logged meanwhile.
func (x *exchange) run(t *testing.T) (transcript, logged string) {
	var log bytes.Buffer
	w := newWorld(t, func(w *world) {
		w.opts.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		if x.prepare != nil {
			x.prepare(w)
		}
	})
	if x.arrange != nil {
		x.arrange(w)
	}
	log.Reset()
	m := w.office
	if x.laptop {
		m = w.laptop
	}
	target := BasePath + x.target
	res := m.ask(x.method, w.unmask(target), w.unmask(x.body), append([]string{"Authorization", "Bearer " + wrongToken}, x.header...)...)
	answer, err := io.ReadAll(res.Body)
	w.ok(err)
	if w.connected {
		w.nameIntents()
	}

	var out strings.Builder
	fmt.Fprintf(&out, "%s %s HTTP/1.1\n", x.method, target)
	request := http.Header{"Host": {"127.0.0.1:3189"}}
	if x.body != "" {
		request.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(x.header); i += 2 {
		request.Set(x.header[i], x.header[i+1])
	}
	writeHeader(&out, request)
	if x.body != "" {
		fmt.Fprintf(&out, "\n%s\n", indent(x.body))
	}
	fmt.Fprintf(&out, "\nHTTP/1.1 %d %s\n", res.StatusCode, http.StatusText(res.StatusCode))
	res.Header.Del("Content-Length") // that of the real ids and files
	for _, values := range res.Header {
		for i := range values {
			values[i] = w.mask(values[i])
		}
	}
	writeHeader(&out, res.Header)
	if x.target == "/openapi.yaml" {
		answer = []byte("the document\n")
	}
	fmt.Fprintf(&out, "\n%s\n", indent(w.mask(string(answer))))
	return out.String(), log.String()
}

func writeHeader(w io.Writer, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		fmt.Fprintf(w, "%s: %s\n", name, strings.Join(h[name], ", "))
	}
}

// indent shows JSON in lines, and anything else as it is.
func indent(text string) string {
	var out bytes.Buffer
	if json.Indent(&out, []byte(text), "", "  ") != nil {
		return strings.TrimSpace(text)
	}
	return strings.TrimSpace(out.String())
}

// rename gives what has one fixed name another.
func (w *world) rename(from, to string) { w.renamed = append(w.renamed, name{from, to}) }

// newerLaptop makes the office know a fingerprint of the laptop that is newer
// than the one it had.
func (w *world) newerLaptop() {
	w.Helper()
	w.clock.turn(time.Hour)
	w.ok(w.laptop.restart("GRDBENCH-02"))
	env, err := w.laptop.Environment(w.ctx)
	w.ok(err)
	w.ok(w.office.AddFingerprint(w.ctx, licensing.FingerprintFields{Fingerprint: env.Fingerprint}, nil))
}
