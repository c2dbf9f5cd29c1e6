//! Progress: bars on a terminal, lines of JSON for programs, nothing otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use icecore::progress::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::arguments::Global;
use super::human;
use super::output;
use super::problem::Problem;
use super::signals::Interrupt;
use super::watch::{Silent, Watcher, watched};

/// How often a status line is printed for programs.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// How far one disk is, or the only thing that is worked on. All in bytes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes dealt with.
    pub done_bytes: u64,
    /// Bytes that the vault did not have, where that is a question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_bytes: Option<u64>,
}

/// The watcher that fits who reads along. `look` tells how far everything is, always in the same order; nothing yet
/// when it is empty.
pub fn watcher<'a>(global: &Global, look: impl Fn() -> Vec<State> + Send + 'a) -> Box<dyn Watcher + 'a> {
    if global.json {
        return Box::new(Lines { look, began: Instant::now(), last: Instant::now() });
    }
    if global.quiet || !std::io::stderr().is_terminal() {
        return Box::new(Silent);
    }
    Box::new(Bars { look, multi: MultiProgress::new(), bars: Vec::new() })
}

/// Runs work on one thing, with a bar of its own for as long as it takes; a signal cancels it.
pub fn shown<R>(
    global: &Global,
    interrupt: &Interrupt,
    name: &str,
    work: impl FnOnce(&Progress) -> icecore::Result<R>,
) -> Result<R, Problem> {
    let progress = Progress::default();
    let watcher = watcher(global, || {
        let (total_bytes, done_bytes) = (progress.total_bytes(), progress.done_bytes());
        vec![State { name: name.to_owned(), total_bytes, done_bytes, new_bytes: None }]
    });
    Ok(watched(interrupt, watcher, || progress.cancel(), || work(&progress))?)
}

/// The watcher of work in steps that have names; programs get none. `look` tells how many are over, how many there are,
/// and what is being done.
pub fn steps<'a>(global: &Global, look: impl Fn() -> (usize, usize, String) + Send + 'a) -> Box<dyn Watcher + 'a> {
    if global.json || global.quiet || !std::io::stderr().is_terminal() {
        return Box::new(Silent);
    }
    let template = "{prefix:<32} {wide_bar} {pos}/{len}  {elapsed}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    Box::new(Steps { look, bar: ProgressBar::new(0).with_style(style) })
}

/// One bar for all steps.
struct Steps<L> {
    look: L,
    bar: ProgressBar,
}

impl<L: Fn() -> (usize, usize, String) + Send> Watcher for Steps<L> {
    fn tick(&mut self, over: bool) {
        let (done, all, name) = (self.look)();
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
        self.bar.set_prefix(name);
        if over {
            self.bar.finish_and_clear();
        }
    }
}

/// One bar per disk.
struct Bars<L> {
    look: L,
    multi: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl<L: Fn() -> Vec<State> + Send> Watcher for Bars<L> {
    fn tick(&mut self, over: bool) {
        let states = (self.look)();
        for (number, state) in states.iter().enumerate() {
            if self.bars.len() == number {
                let bar = ProgressBar::new(state.total_bytes).with_style(style());
                bar.set_prefix(human::escaped(state.name.as_bytes()));
                self.bars.push(self.multi.add(bar));
            }
            let Some(bar) = self.bars.get(number) else { continue };
            bar.set_length(state.total_bytes);
            bar.set_position(state.done_bytes);
            if let Some(new) = state.new_bytes {
                bar.set_message(format!("new {}", human::size(new)));
            }
        }
        if over {
            for bar in &self.bars {
                bar.finish_and_clear();
            }
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix:<12} {wide_bar} {percent:>3}%  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}";
    // A template that does not parse would only cost its looks.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A line of JSON about once a second.
struct Lines<L> {
    look: L,
    began: Instant,
    last: Instant,
}

#[derive(Serialize)]
struct Status {
    message_type: &'static str,
    seconds_elapsed: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_remaining: Option<f64>,
    percent_done: f64,
    total_bytes: u64,
    bytes_done: u64,
    parts: Vec<State>,
}

impl<L: Fn() -> Vec<State> + Send> Watcher for Lines<L> {
    fn tick(&mut self, over: bool) {
        if over || self.last.elapsed() < STATUS_EVERY {
            return;
        }
        self.last = Instant::now();
        let parts = (self.look)();
        let total = parts.iter().map(|part| part.total_bytes).sum();
        let done = parts.iter().map(|part| part.done_bytes).sum();
        let elapsed = self.began.elapsed().as_secs_f64();
        let percent_done = if parts.is_empty() { 0.0 } else { human::fraction(done, total) };
        let status = Status {
            message_type: "status",
            seconds_elapsed: elapsed,
            seconds_remaining: (percent_done > 0.0).then(|| elapsed * (1.0 - percent_done) / percent_done),
            percent_done,
            total_bytes: total,
            bytes_done: done,
            parts,
        };
        // A program that no longer listens does not end the work.
        let _ = output::json(&status);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_template_is_well_formed() {
        let template = "{prefix:<12} {wide_bar} {percent:>3}%";
        assert!(ProgressStyle::with_template(template).is_ok());
    }
}
