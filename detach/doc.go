// Package detach holds the rules by which seats leave a pool for a while and
// come home, and the public face of the files that carry them.
//
// A [Buffer] is such a file; [Inspect], [Open] and [Verify] say what it is, open
// it, and name the link of its chain of signatures that fails.
//
// For outsiders are the files, [Buffer], [Inspect], [Info], [Kind], [Open],
// [SealKey], [License] with its [Feature], [Verify] and [LinkError], and what
// requests and answers of package licensing are made of, [Selector], [Policy],
// [Refusal] and [Detail]. Everything else, [Pool], [Local] and what goes with them, is
// exported for package licensing and for tests, and may change in any version.
//
// [Pool] is one key's pool and [Local] what a manager remembers of itself. Both
// are folds of their ledgers: a command is decided, which gives entries or a
// [*Refusal] and changes nothing, and the entries are applied once they are
// durable. Deciding, applying and judging are pure: no clock, no I/O, no
// goroutines. Time is passed in as Unix seconds.
//
// For every feature, always, free and detached seats together are the vendor's
// number of seats, or more only where the vendor took seats away that were out
// (see [FeatureState]). A seat is free again when its return is here and the
// last grant has ended, or when its death time has passed, and not before.
package detach
