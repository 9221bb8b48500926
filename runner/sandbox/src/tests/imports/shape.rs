//! The kinds of guests, and the sizes of what they pass.

/// Memory layout: 5 MiB of text; 7 MiB for the items of lists; the address for answers.
const TEXT: i64 = 1 << 20;
const ITEMS: i64 = 6 << 20;
const ROOM: i64 = 14 << 20;
pub(super) const ANSWER: i64 = 600 << 10;
/// The same in a guest of 30 pages.
const SMALL_TEXT: i64 = 700 << 10;
const SMALL_ITEMS: i64 = 1_000 << 10;
const SMALL_ROOM: i64 = 1_400 << 10;

/// Added to an import's number: does everything except the calls.
pub(super) const DRY: usize = 10_000;

/// Where the calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Run,
    Describe,
    Start,
}

/// The kind of guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) size: Size,
    pub(super) place: Place,
    /// How often it calls its import.
    pub(super) calls: u64,
    /// Whether it has 30 pages of memory instead of 400.
    pub(super) small: bool,
}

/// How arguments are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Within every limit that a single function may have.
    Modest,
    /// Texts and lists as large as one call may carry; the largest numbers.
    Large,
    /// As many items as one call may carry, each small.
    Many,
    /// Many items that all refer to the same large text.
    Wide,
}

impl Size {
    pub(super) const ALL: [Size; 4] = [Size::Modest, Size::Large, Size::Many, Size::Wide];
}

impl Shape {
    /// The address that every allocation of the guest gets.
    pub(super) fn room(self) -> i64 {
        if self.small { SMALL_ROOM } else { ROOM }
    }

    /// The longest text that fits into its memory, and into one call.
    pub(super) fn longest(self) -> i64 {
        match self.small {
            true => 200 << 10,
            false => (4 << 20) - 4_096,
        }
    }

    pub(super) fn text(self) -> i64 {
        match self.size {
            Size::Modest => 20_000,
            Size::Many => 1,
            Size::Large | Size::Wide => self.longest(),
        }
    }

    pub(super) fn number(self) -> i64 {
        match self.size {
            Size::Modest => 60_000,
            _ => -1,
        }
    }

    /// Items of a list, each of this many bytes in the guest.
    pub(super) fn items(self, bytes: i64) -> i64 {
        match self.size {
            Size::Modest => 30,
            Size::Wide => 900,
            // An item takes at least 24 bytes in the host, most often 48.
            Size::Large | Size::Many => self.longest() / bytes.max(64) - 64,
        }
    }

    pub(super) fn item_text(self) -> i64 {
        match self.size {
            Size::Modest => 100,
            Size::Large | Size::Many => 1,
            Size::Wide => self.longest(),
        }
    }

    pub(super) fn text_at(self) -> i64 {
        if self.small { SMALL_TEXT } else { TEXT }
    }

    pub(super) fn items_at(self) -> i64 {
        if self.small { SMALL_ITEMS } else { ITEMS }
    }
}
