use super::*;
use crate::plugin::load_request::{InspectedFile, SMALL};
use crate::plugin::ready_file::ReadyFile;
use crate::plugin::scan::{Seen, Stamp};
use crate::plugin::tests::support::name;
use pgtq_task::Digest;

struct ScheduleFixture {
    schedule: LoadSchedule,
    begin: Instant,
}

impl ScheduleFixture {
    fn new() -> ScheduleFixture {
        ScheduleFixture {
            schedule: LoadSchedule::default(),
            begin: Instant::now(),
        }
    }

    fn add(&mut self, file: &str, size: u64) {
        self.add_with(file, size, false);
    }

    fn add_with(&mut self, file: &str, size: u64, alone: bool) {
        let mut stamp = Stamp::nth(1);
        stamp.size = size;
        let ready = ReadyFile {
            file: file.to_owned(),
            seen: Seen::File(stamp),
            unsettled: false,
        };
        self.schedule.add(LoadRequest {
            ready,
            is_retry: false,
            alone,
        });
    }

    /// Starts what may start at `ms`, and ends each inspection at once: the file's first
    /// letter is the handler it has. Returns the files being loaded.
    fn start(&mut self, ms: u64) -> Vec<String> {
        let now = self.begin + Duration::from_millis(ms);
        let mut loading = Vec::new();
        while let Some(step) = self.schedule.next(now) {
            match step {
                NextStep::Load(planned) => loading.push(planned.request.ready.file),
                NextStep::Inspect(request) => {
                    self.schedule.ended(&request.ready.file);
                    let inspected = InspectedFile {
                        digest: Digest([0; 32]),
                        names: vec![name(&request.ready.file[..1])],
                    };
                    self.schedule.plan(PlannedLoad { request, inspected });
                }
            }
        }
        loading
    }

    fn end(&mut self, file: &str) {
        self.schedule.ended(file);
        for planned in self.schedule.release_names(file) {
            self.schedule.plan(planned);
        }
    }
}

const LARGE: u64 = SMALL + 1;

#[test]
fn a_small_file_does_not_wait_behind_large_ones() {
    let mut story = ScheduleFixture::new();
    story.add("a", LARGE);
    story.add("b", LARGE);
    story.add("c", SMALL);
    assert_eq!(story.start(0), ["c", "a"]);
    story.add("d", 1);
    assert_eq!(story.start(0), ["d"]);
    story.add("e", LARGE);
    assert_eq!(story.start(0), [""; 0]);
    story.end("a");
    assert_eq!(story.start(0), ["b"]);
}

#[test]
fn a_slow_small_file_yields_its_place_to_others() {
    let mut story = ScheduleFixture::new();
    for file in ["a", "b", "c"] {
        story.add(file, 1);
    }
    assert_eq!(story.start(0), ["a", "b"]);
    let slow = story.begin + SLOW;
    assert_eq!(story.schedule.next_moment(story.begin), Some(slow));
    assert_eq!(story.start(SLOW.as_millis() as u64), ["c"]);
    // Bounded, because each load takes memory.
    story.add("d", 1);
    assert_eq!(story.start(60_000), [""; 0]);
    assert_eq!(story.schedule.next_moment(story.begin + 20 * SLOW), None);
}

#[test]
fn name_ownership_does_not_depend_on_speed() {
    let mut story = ScheduleFixture::new();
    story.add("x1", LARGE);
    story.add("x2", 1);
    story.add("y", 1);
    assert_eq!(story.start(0), ["y", "x1"]);
    let mut files: Vec<&String> = story.schedule.files().collect();
    files.sort();
    assert_eq!(files, ["x1", "x2", "y"]);
    // It was rejected, for example.
    story.end("x1");
    assert_eq!(story.start(0), ["x2"]);
}

#[test]
fn a_withdrawn_file_passes_its_name_to_the_next() {
    let mut story = ScheduleFixture::new();
    story.add("w", LARGE);
    story.add("x1", LARGE);
    story.add("x2", 1);
    assert_eq!(story.start(0), ["w"]);
    for planned in story.schedule.withdraw("x1") {
        story.schedule.plan(planned);
    }
    assert_eq!(story.start(0), ["x2"]);
    assert!(!story.schedule.files().any(|file| file == "x1"));
    // For a file that is being loaded, newer bytes wait.
    story.add("w", 1);
    assert_eq!(story.start(0), [""; 0]);
    story.end("w");
    assert_eq!(story.start(0), ["w"]);
}

#[test]
fn a_suspect_comes_last_and_alone() {
    let mut story = ScheduleFixture::new();
    story.add_with("a", 1, true);
    story.add_with("b", 1, true);
    story.add("c", LARGE);
    assert_eq!(story.start(0), ["c"]);
    story.add("d", 1);
    assert_eq!(story.start(0), ["d"]);
    story.end("d");
    assert_eq!(story.start(0), [""; 0]);
    story.end("c");
    assert_eq!(story.start(0), ["a"]);
    story.add("e", 1);
    assert_eq!(story.start(0), [""; 0], "nothing beside a suspect");
    story.end("a");
    assert_eq!(story.start(0), ["e"]);
    story.end("e");
    assert_eq!(story.start(0), ["b"]);
    story.end("b");
    assert!(story.schedule.is_idle());
}
