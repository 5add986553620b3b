package lmhttp

import (
	"net/http"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

// maxTime is the last second of the year 9999.
const maxTime = 253402300799

// computer is a known computer, as the API shows it.
type computer struct {
	Auto        bool             `json:"auto"`
	Fingerprint licensing.Buffer `json:"fingerprint"`
	HostName    string           `json:"hostName"`
	IssueTime   int64            `json:"issueTime"`
	LMSID       uint64           `json:"lmsId,string"`
	Remote      bool             `json:"remote"`

	// What is seen of its manager on the network, left out where nothing is.
	ClockAheadSec int64  `json:"clockAheadSec,omitempty"`
	Conflict      bool   `json:"conflict,omitempty"`
	Problem       string `json:"problem,omitempty"`
	SilentSince   int64  `json:"silentSince,omitempty"`
}

func showComputer(c licensing.Computer) computer {
	return computer{
		Auto: c.Auto, Fingerprint: c.Fingerprint, HostName: c.HostName, IssueTime: c.IssueTime.Unix(), LMSID: c.LMSID, Remote: c.Remote,
		ClockAheadSec: int64(c.Ahead / time.Second), Conflict: c.Conflict, Problem: c.Problem, SilentSince: unix(c.Silent),
	}
}

// environment is this computer and the program.
type environment struct {
	computer
	OS      string `json:"os"`
	Version string `json:"version"`
}

func (c *call) environment() error {
	env, err := c.manager.Environment(c.ctx)
	if err != nil {
		return err
	}
	c.answer.write(http.StatusOK, struct {
		Environment environment `json:"environment"`
	}{environment{showComputer(env.Computer), env.OS, env.Version}})
	return nil
}

func (c *call) listFingerprints() error {
	page, err := c.query.page()
	if err != nil {
		return err
	}
	search, err := c.query.search()
	if err != nil {
		return err
	}
	return c.showFingerprints(search, page)
}

func (c *call) showFingerprints(search string, page licensing.Page) error {
	list, err := c.manager.Fingerprints(c.ctx, search, page)
	if err != nil {
		return err
	}
	writeList(c, "fingerprints", list, showComputer)
	return nil
}

// fingerprintFields reads what a request says of a computer.
func (c *call) fingerprintFields() (out licensing.FingerprintFields) {
	f := c.body
	if f.has("lmsId") {
		out.LMSID = new(f.id("lmsId", wholeID))
	}
	if f.has("hostName") {
		out.HostName = new(f.text("hostName"))
	}
	if f.has("fingerprint") {
		out.Fingerprint = f.file("fingerprint")
	}
	if f.has("issueTime") {
		out.IssueTime = new(time.Unix(f.number("issueTime", 0, maxTime), 0))
	}
	return out
}

// changeFingerprints makes a change and answers with the list as it is then.
func (c *call) changeFingerprints(change func() error) error {
	page, err := c.query.page()
	if err != nil {
		return err
	}
	if err := c.body.fault(); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	return c.showFingerprints("", page)
}

func (c *call) addFingerprint() error {
	given := c.fingerprintFields()
	if given.Fingerprint == nil {
		c.body.blame("fingerprint", "it is missing")
	}
	return c.changeFingerprints(func() error { return c.manager.AddFingerprint(c.ctx, given, c.change) })
}

func (c *call) editFingerprint() error {
	given := c.fingerprintFields()
	if given.LMSID == nil {
		c.body.blame("lmsId", "it is missing")
	}
	return c.changeFingerprints(func() error { return c.manager.EditFingerprint(c.ctx, given, c.change) })
}

func (c *call) removeFingerprint() error {
	id := c.body.id("lmsId", wholeID)
	return c.changeFingerprints(func() error { return c.manager.RemoveFingerprint(c.ctx, id, c.change) })
}
