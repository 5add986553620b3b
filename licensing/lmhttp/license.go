package lmhttp

import (
	"math"
	"net/http"
	"time"

	"github.com/sojournlm/sojourn/licensing"
)

const (
	maxDuration = math.MaxInt32 // seconds
	maxSeats    = math.MaxUint16

	// maxSelectors is four times the features that a key can have.
	maxSelectors = 2048
)

// file is the answer that carries a license or a return.
type file struct {
	License licensing.Buffer `json:"license"`
}

// nothing is the answer that says that it was done.
type nothing struct{}

func (c *call) detach() error {
	f := c.body
	req := licensing.DetachRequest{
		Offline:   f.has("offline") && f.flag("offline"),
		Recipient: f.id("lmsId", wholeID),
		Key:       f.id("dongleId", keyID),
		Duration:  time.Duration(f.number("durationInSec", 1, maxDuration)) * time.Second,
		Seats:     1,
	}
	if f.has("concurrentResourceToConsume") {
		req.Seats = int(f.number("concurrentResourceToConsume", 1, maxSeats))
	}
	for entry := range f.list("productFeatures", maxSelectors) {
		s := licensing.Selector{ProductNumber: uint32(entry.id("productNumber", number32)), Whole: !entry.has("featureNumber")}
		if !s.Whole {
			s.FeatureNumber = uint32(entry.id("featureNumber", number32))
		}
		req.Features = append(req.Features, s)
	}
	if len(req.Features) == 0 {
		f.blame("productFeatures", "it is empty, want at least one product or feature")
	}
	if err := f.fault(); err != nil {
		return err
	}
	out, err := c.manager.Detach(c.ctx, req, c.change)
	if err != nil {
		return err
	}
	return c.license(req.Offline, out.License)
}

func (c *call) cancelDetach() error {
	f := c.body
	req := licensing.CancelRequest{
		Offline: f.has("offline") && f.flag("offline"),
		License: f.id("dongleId", keyID),
	}
	if err := f.fault(); err != nil {
		return err
	}
	out, err := c.manager.CancelDetach(c.ctx, req, c.change)
	if err != nil {
		return err
	}
	return c.license(req.Offline, out.Return)
}

// license answers with a file to carry, or online with nothing: it has arrived.
func (c *call) license(offline bool, buffer licensing.Buffer) error {
	if offline {
		c.answer.write(http.StatusOK, file{buffer})
	} else {
		c.answer.write(http.StatusOK, nothing{})
	}
	return nil
}

func (c *call) install() error {
	buffer := c.body.file("license")
	if err := c.body.fault(); err != nil {
		return err
	}
	if err := c.manager.Install(c.ctx, buffer, c.change); err != nil {
		return err
	}
	c.answer.write(http.StatusOK, nothing{})
	return nil
}

func (c *call) downloadDetached() error {
	id := c.body.id("licenseId", wholeID)
	if err := c.body.fault(); err != nil {
		return err
	}
	buffer, err := c.manager.DownloadDetached(c.ctx, id)
	if err != nil {
		return err
	}
	return c.license(true, buffer)
}

func (c *call) downloadCancelled() error {
	id := c.body.id("licenseId", wholeID)
	if err := c.body.fault(); err != nil {
		return err
	}
	buffer, err := c.manager.DownloadCancelled(c.ctx, id)
	if err != nil {
		return err
	}
	return c.license(true, buffer)
}

// detachedLicense is a license that is out, as the API shows it.
type detachedLicense struct {
	DeathTime                  int64     `json:"deathTime"`
	DetachedFromLicenseID      uint64    `json:"detachedFromLicenseId,string"`
	DetachedFromLicenseIDShort uint32    `json:"detachedFromLicenseIdShort"`
	DetachedResource           int       `json:"detachedResource"`
	DurationInSec              int64     `json:"durationInSec"`
	HostName                   string    `json:"hostName"`
	LicenseID                  uint64    `json:"licenseId"`
	LicenseIDShort             uint32    `json:"licenseIdShort"`
	Products                   []product `json:"products"`
	ProductsCount              int       `json:"productsCount"`
	Vendor                     vendor    `json:"vendor"`
}

func showDetached(d licensing.DetachedLicense) detachedLicense {
	out := detachedLicense{
		DeathTime: d.Death.Unix(), DurationInSec: int64(d.Duration / time.Second),
		DetachedFromLicenseID: d.Origin, DetachedFromLicenseIDShort: uint32(d.Origin),
		LicenseID: d.ID, LicenseIDShort: uint32(d.ID),
		DetachedResource: d.Seats, HostName: d.HostName, Vendor: showVendor(d.Vendor),
		Products: []product{},
	}
	for _, f := range d.Features {
		out.Products = addFeature(out.Products, f, showFeature(f))
	}
	out.ProductsCount = len(out.Products)
	return out
}

func (c *call) listDetached() error {
	filter, err := c.query.filter()
	if err != nil {
		return err
	}
	list, err := c.manager.ListDetached(c.ctx, filter)
	if err != nil {
		return err
	}
	writeList(c, "detachedLicenses", list, showDetached)
	return nil
}

// cancelledLicense is the record of a license that was given back here.
type cancelledLicense struct {
	DetachedFromLicenseID      uint64 `json:"detachedFromLicenseId,string"`
	DetachedFromLicenseIDShort uint32 `json:"detachedFromLicenseIdShort"`
	LicenseID                  uint64 `json:"licenseId,string"`
	LicenseIDShort             uint32 `json:"licenseIdShort"`
}

func showCancelled(l licensing.CancelledLicense) cancelledLicense {
	return cancelledLicense{l.Origin, uint32(l.Origin), l.ID, uint32(l.ID)}
}

func (c *call) listCancelled() error {
	page, err := c.query.page()
	if err != nil {
		return err
	}
	return c.showCancelledList(page)
}

func (c *call) showCancelledList(page licensing.Page) error {
	list, err := c.manager.ListCancelled(c.ctx, page)
	if err != nil {
		return err
	}
	writeList(c, "cancelledLicenses", list, showCancelled)
	return nil
}

func (c *call) forgetCancelled() error {
	id := c.body.id("licenseId", wholeID)
	if err := c.body.fault(); err != nil {
		return err
	}
	page, err := c.query.page()
	if err != nil {
		return err
	}
	if err := c.manager.ForgetCancelled(c.ctx, id, c.change); err != nil {
		return err
	}
	return c.showCancelledList(page)
}
