//! Which of an entity's records a window holds at `T`, by the law's own words: over the plain list, without state.

use crate::time::{Millis, floor_to};
use crate::topology::Window;
use crate::window::{CHUNK_TILES, TileSpec, TumblingSpec};

/// An applied record, as a window sees it.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub t: Millis,
    pub offset: i64,
    /// The feature's `where` is true.
    pub passes: bool,
    /// Its input and its bucket are not null.
    pub counts: bool,
    /// It meets the condition of a window since one.
    pub meets: bool,
}

/// A part of a window, with what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A tile of a sliding window: event times in `[start, end)`.
    Tile {
        start: Millis,
        end: Millis,
        leaves: Millis,
    },
    /// Tiles that the state keeps merged: event times in `[start, end)`; the first of them leaves at `leaves`.
    Tiles {
        start: Millis,
        end: Millis,
        leaves: Millis,
    },
    /// The tumbling window that is shown: event times in `[start, end)`.
    Tumbling {
        start: Millis,
        end: Millis,
        shown_until: Millis,
    },
    /// The session: all records of the entity from `start` to `last`.
    Session {
        start: Millis,
        last: Millis,
        over: Millis,
    },
    /// What came after the newest record that meets the condition: its event time and offset; all when none has.
    Since {
        border: Option<(Millis, i64)>,
    },
    Last {
        n: u32,
    },
    Lifetime,
}

/// Why a window does not hold a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Its tile has left.
    Left { at: Millis },
    /// It is in another tumbling window.
    OtherWindow { start: Millis, end: Millis },
    /// It is in an earlier run.
    EarlierSession,
    /// The session is over.
    SessionOver { at: Millis },
    /// It is the newest record that meets the condition.
    Border,
    /// It is before that record, by event time, then offset.
    BeforeBorder { offset: i64 },
    /// As many newer ones pass `where`.
    Beyond { n: u32 },
}

/// What a window holds.
#[derive(Debug)]
pub struct Held {
    /// Ascending.
    pub parts: Vec<Part>,
    /// One a member: the part that it is in (`None` for one in a tile where nothing counts), or why it is in none.
    pub members: Vec<Result<Option<usize>, Outside>>,
}

/// What `window` holds of `members` at `at`; none of them is newer than that.
pub fn hold(window: Window, members: &[Member], at: Millis) -> Held {
    match window {
        Window::Sliding { size, slide } => sliding(size, slide, members, at),
        Window::Tumbling { size, offset, complete } => {
            let spec = TumblingSpec { size, offset, complete, kinds: Vec::new() };
            let shown = spec.shown(at);
            let [_, shown_until] = spec.span(shown);
            one(Part::Tumbling { start: shown, end: shown + size, shown_until }, members, |member| {
                let start = spec.start(member.t);
                (start != shown).then_some(Outside::OtherWindow { start, end: start + size })
            })
        }
        Window::Session { gap } => session(gap, members, at),
        Window::Since { .. } => {
            let border = members.iter().filter(|member| member.meets).map(place).max();
            one(Part::Since { border }, members, |member| match border {
                Some(border) if place(member) == border => Some(Outside::Border),
                Some(border) if place(member) < border => Some(Outside::BeforeBorder { offset: border.1 }),
                _ => None,
            })
        }
        Window::LastN { n } => {
            let mut newest: Vec<(Millis, i64)> = members.iter().filter(|member| member.passes).map(place).collect();
            newest.sort_unstable_by(|a, b| b.cmp(a));
            let oldest_held = newest.get(n as usize - 1).copied();
            one(Part::Last { n }, members, |member| {
                oldest_held.is_some_and(|oldest| place(member) < oldest).then_some(Outside::Beyond { n })
            })
        }
        Window::Lifetime => one(Part::Lifetime, members, |_| None),
    }
}

/// The order of records: by event time, then offset.
fn place(member: &Member) -> (Millis, i64) {
    (member.t, member.offset)
}

fn one(part: Part, members: &[Member], outside: impl Fn(&Member) -> Option<Outside>) -> Held {
    let members = members.iter().map(|member| outside(member).map_or(Ok(Some(0)), Err)).collect();
    Held { parts: vec![part], members }
}

fn sliding(size: Millis, slide: Millis, members: &[Member], at: Millis) -> Held {
    let spec = TileSpec { size, slide, kinds: Vec::new(), chunk_tiles: CHUNK_TILES };
    let is_held = |member: &&Member| spec.leaves_at(member.t) > at;
    let counting = members.iter().filter(is_held).filter(|member| member.counts);
    let mut starts: Vec<Millis> = counting.map(|member| floor_to(member.t, slide)).collect();
    starts.sort_unstable();
    starts.dedup();
    let within = |member: &Member| match is_held(&member) {
        true => Ok(starts.binary_search(&floor_to(member.t, slide)).ok()),
        false => Err(Outside::Left { at: spec.leaves_at(member.t) }),
    };
    let members = members.iter().map(within).collect();
    let part = |start: &Millis| Part::Tile { start: *start, end: start + slide, leaves: spec.leaves_at(*start) };
    Held { parts: starts.iter().map(part).collect(), members }
}

fn session(gap: Millis, members: &[Member], at: Millis) -> Held {
    let mut times: Vec<Millis> = members.iter().map(|member| member.t).collect();
    times.sort_unstable();
    let Some(&last) = times.last() else { return Held { parts: Vec::new(), members: Vec::new() } };
    let start = times.iter().rev().fold(last, |start, &t| if start - t <= gap { t } else { start });
    let over = last + gap + 1;
    if at >= over {
        return Held { parts: Vec::new(), members: vec![Err(Outside::SessionOver { at: over }); members.len()] };
    }
    one(Part::Session { start, last, over }, members, |member| (member.t < start).then_some(Outside::EarlierSession))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(times: &[Millis]) -> Vec<Member> {
        let member = |(offset, t): (usize, &Millis)| Member {
            t: *t,
            offset: offset as i64,
            passes: true,
            counts: true,
            meets: false,
        };
        times.iter().enumerate().map(member).collect()
    }

    fn inside(held: &Held) -> Vec<bool> {
        held.members.iter().map(Result::is_ok).collect()
    }

    #[test]
    fn a_sliding_window_names_its_tiles_and_when_each_leaves() {
        let window = Window::Sliding { size: 10, slide: 5 };
        let held = hold(window, &members(&[3, 7, 8, 14]), 15);
        assert_eq!(
            held.parts,
            [Part::Tile { start: 5, end: 10, leaves: 20 }, Part::Tile { start: 10, end: 15, leaves: 25 }]
        );
        assert_eq!(held.members, [Err(Outside::Left { at: 15 }), Ok(Some(0)), Ok(Some(0)), Ok(Some(1))]);
        let mut silent = members(&[7]);
        silent[0].counts = false;
        let held = hold(window, &silent, 15);
        assert_eq!((held.parts.len(), &held.members[0]), (0, &Ok(None)), "a null in the window makes no tile");
    }

    #[test]
    fn a_session_is_the_last_run_until_the_gap_has_passed() {
        let window = Window::Session { gap: 10 };
        let records = members(&[0, 20, 41, 30]);
        let held = hold(window, &records, 45);
        assert_eq!(held.parts, [Part::Session { start: 41, last: 41, over: 52 }]);
        assert_eq!(inside(&held), [false, false, true, false]);
        let held = hold(window, &records[..2], 30);
        assert_eq!(held.members, [Err(Outside::EarlierSession), Ok(Some(0))]);
        assert_eq!(hold(window, &records, 52).members, [Err(Outside::SessionOver { at: 52 }); 4]);
        let joined = hold(window, &members(&[0, 20, 10]), 21);
        assert_eq!(joined.parts, [Part::Session { start: 0, last: 20, over: 31 }], "one that came late joins two runs");
    }

    #[test]
    fn the_border_is_the_newest_by_event_time_and_is_itself_outside() {
        let mut records = members(&[5, 9, 9, 7]);
        (records[1].meets, records[3].meets) = (true, true);
        let held = hold(Window::Since { condition: crate::expr::ExprId(0) }, &records, 9);
        assert_eq!(held.parts, [Part::Since { border: Some((9, 1)) }]);
        let before = Err(Outside::BeforeBorder { offset: 1 });
        assert_eq!(held.members, [before, Err(Outside::Border), Ok(Some(0)), before]);
    }

    #[test]
    fn the_last_n_pass_where_and_nulls_take_a_place() {
        let mut records = members(&[1, 4, 2, 3]);
        (records[1].counts, records[3].passes) = (false, false);
        let held = hold(Window::LastN { n: 2 }, &records, 4);
        assert_eq!(inside(&held), [false, true, true, true], "what does not pass is judged before");
        assert_eq!(held.members[0], Err(Outside::Beyond { n: 2 }));
    }

    #[test]
    fn a_complete_tumbling_window_is_the_one_before() {
        let window = Window::Tumbling { size: 10, offset: 3, complete: true };
        let held = hold(window, &members(&[2, 3, 12, 13]), 14);
        assert_eq!(held.parts, [Part::Tumbling { start: 3, end: 13, shown_until: 23 }]);
        assert_eq!(inside(&held), [false, true, true, false]);
    }
}
