package lmhttp

import (
	"iter"

	"github.com/sojournlm/sojourn/licensing"
)

func (c *call) listDongles() error {
	page, err := c.query.page()
	if err != nil {
		return err
	}
	search, err := c.query.search()
	if err != nil {
		return err
	}
	list, err := c.manager.Keys(c.ctx, licensing.Filter{Search: search, Page: page})
	if err != nil {
		return err
	}
	writeList(c, "dongles", list, showDongle)
	return nil
}

func (c *call) listFeatures() error {
	filter, err := c.query.filter()
	if err != nil {
		return err
	}
	list, err := c.manager.Features(c.ctx, filter)
	if err != nil {
		return err
	}
	writeList(c, "features", list, showUsableFeature)
	return nil
}

// branch is a key with those of its products and features that were asked for.
type branch struct {
	dongle
	Products []product `json:"products"`
}

// listTree lists the keys of the features that are asked for, with them. Its
// pages are pages of keys.
func (c *call) listTree() error {
	filter, err := c.query.filter()
	if err != nil {
		return err
	}
	page := filter.Page
	filter.Page = licensing.Page{}
	keys, err := c.manager.Keys(c.ctx, licensing.Filter{Key: filter.Key})
	if err != nil {
		return err
	}
	features, err := c.manager.Features(c.ctx, filter)
	if err != nil {
		return err
	}
	known := make(map[uint64]licensing.Key)
	for k := range keys.All() {
		known[k.ID] = k
	}
	c.nameSilent(features.Silent)
	var total, at int64
	for range byKey(features) {
		total++
	}
	from, to := int64(0), total
	if page.Limit > 0 {
		from = int64(max(1, page.Number)-1) * int64(page.Limit)
		to = from + int64(page.Limit)
	} else if page.Number > 1 {
		to = 0
	}
	rows := c.rows("dongles", int(total))
	for group := range byKey(features) {
		if at >= from && at < to && !rows.write(showBranch(known[group[0].Key], group)) {
			break
		}
		at++
	}
	rows.end()
	return nil
}

// byKey gives the features of one key after the other.
func byKey(features *licensing.List[licensing.Feature]) iter.Seq[[]licensing.Feature] {
	return func(yield func([]licensing.Feature) bool) {
		var group []licensing.Feature
		for f := range features.All() {
			if len(group) > 0 && group[0].Key != f.Key {
				if !yield(group) {
					return
				}
				group = group[:0]
			}
			group = append(group, f)
		}
		if len(group) > 0 {
			yield(group)
		}
	}
}

func showBranch(key licensing.Key, features []licensing.Feature) branch {
	if key.ID == 0 { // it came between the two lists
		key = licensing.Key{ID: features[0].Key, Vendor: features[0].Vendor}
	}
	out := branch{dongle: showDongle(key)}
	for _, f := range features {
		out.Products = addFeature(out.Products, f, showUsableFeature(f))
	}
	return out
}
