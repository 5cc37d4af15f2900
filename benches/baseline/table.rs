//! The table of results, as Markdown.

use std::fmt::Write;

use crate::{
    measure::Figures,
    rows::{
        Bound, GROWTH, GROWTH_COMMIT_P99_RATIO_MAX, GROWTH_RATIO_MAX, PEAK, PEAK_RATIO_MIN, Row,
        Unit,
    },
};

/// A latency that the highest rate must keep, as the table says it.
pub const PEAK_P99_MS: f64 = 10.0;

/// Lines of the table so far.
pub struct Table {
    text: String,
}

impl Table {
    /// The head, below a sentence on how it was measured.
    pub fn new(method: &str) -> Self {
        let text = format!(
            "{method}\n\n\
             | load | unit | baseline | callboard | ratio | bound | kept | CPU % baseline / callboard | p50 µs baseline / callboard | p99 µs baseline / callboard | commit p50 / p99 µs | notes |\n\
             |---|---|---:|---:|---:|---:|---|---:|---:|---:|---:|---|\n"
        );
        Self { text }
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A row: medians of both.
    pub fn row(&mut self, row: &Row, baseline: Option<&Figures>, callboard: &Figures) {
        let ratio = baseline.map(|baseline| callboard.cost / baseline.cost);
        let (bound, is_kept) = check(row.bound, ratio, callboard.cost);
        let pair = |figure: fn(&Figures) -> f64| {
            let baseline = baseline.map_or("–".to_owned(), |baseline| {
                format!("{:.0}", figure(baseline))
            });
            format!("{baseline} / {:.0}", figure(callboard))
        };
        let digits = if row.unit == Unit::Request { 0 } else { 1 };
        self.line(&[
            format!("{}, {} × {}", row.name, row.rooms, row.size),
            row.unit.name().to_owned(),
            optional(baseline.map(|baseline| baseline.cost), digits),
            format!("{:.digits$}", callboard.cost),
            optional(ratio, 2),
            bound,
            yes_or_no(is_kept),
            pair(|figures| figures.cpu_percent),
            pair(|figures| figures.p50_us),
            pair(|figures| figures.p99_us),
            format!(
                "{:.0} / {:.0}",
                callboard.commit_p50_us, callboard.commit_p99_us
            ),
            notes(baseline, callboard),
        ]);
    }

    /// The highest rates with a p99 within [`PEAK_P99_MS`].
    pub fn peak(&mut self, baseline: f64, callboard: f64, note: &str) {
        let ratio = callboard / baseline;
        self.line(&[
            format!("highest rate, {} × {}", PEAK.rooms, PEAK.size),
            format!("deliveries/s, p99 ≤ {PEAK_P99_MS} ms"),
            format!("{baseline:.0}"),
            format!("{callboard:.0}"),
            format!("{ratio:.2}"),
            format!("≥ {PEAK_RATIO_MIN}"),
            yes_or_no(ratio >= PEAK_RATIO_MIN),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            note.to_owned(),
        ]);
    }

    /// What the same load costs in few and in many rooms: medians of each.
    pub fn growth(&mut self, baseline: &[Figures; 2], callboard: &[Figures; 2]) {
        let [few, many] = GROWTH;
        let name = format!("{} → {} rooms of {}", few.rooms, many.rooms, few.size);
        let cost = |[few, many]: &[Figures; 2]| {
            let ratio = many.cost / few.cost;
            (
                format!("{:.1} → {:.1} ({ratio:.2}×)", few.cost, many.cost),
                ratio,
            )
        };
        let [few, many] = callboard.each_ref().map(|figures| figures.commit_p99_us);
        let (baseline_cost, _) = cost(baseline);
        let (callboard_cost, ratio) = cost(callboard);
        self.line(&[
            format!("growth, {name}"),
            Unit::Delivery.name().to_owned(),
            baseline_cost,
            callboard_cost,
            format!("{ratio:.2}"),
            format!("≤ {GROWTH_RATIO_MAX}×"),
            yes_or_no(ratio <= GROWTH_RATIO_MAX),
            between(baseline, callboard, |figures| figures.cpu_percent),
            between(baseline, callboard, |figures| figures.p50_us),
            between(baseline, callboard, |figures| figures.p99_us),
            String::new(),
            notes(Some(&baseline[1]), &callboard[1]),
        ]);
        let ratio = many / few;
        self.line(&[
            format!("growth of commits, {name}"),
            "p99 µs".to_owned(),
            "–".to_owned(),
            format!("{few:.0} → {many:.0}"),
            format!("{ratio:.2}"),
            format!("< {GROWTH_COMMIT_P99_RATIO_MAX}×"),
            yes_or_no(ratio < GROWTH_COMMIT_P99_RATIO_MAX),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }

    /// A row that could not be measured.
    pub fn failure(&mut self, row: &Row, why: &str) {
        let why = why.replace(['\n', '|'], " ");
        let mut cells = vec![row.name.to_owned(), row.unit.name().to_owned()];
        cells.resize(11, String::new());
        cells.push(why);
        self.line(&cells);
    }

    fn line(&mut self, cells: &[String]) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }
}

/// The bound as it is written, and whether it is kept.
fn check(bound: Bound, ratio: Option<f64>, cost: f64) -> (String, bool) {
    match bound {
        Bound::Ratio(most) => (
            format!("≤ {most}×"),
            ratio.is_some_and(|ratio| ratio <= most),
        ),
        Bound::Kibibytes(most) => (format!("≤ {most} KiB"), cost <= most),
        Bound::PerCpuSecond(least) => (format!("≥ {least:.0}"), cost >= least),
        Bound::Percent(most) => (format!("< {most} %"), cost < most),
    }
}

/// Of the baseline and of callboard, each from few to many rooms.
fn between(
    baseline: &[Figures; 2],
    callboard: &[Figures; 2],
    figure: fn(&Figures) -> f64,
) -> String {
    let [baseline, callboard] = [baseline, callboard]
        .map(|pair| format!("{:.0} → {:.0}", figure(&pair[0]), figure(&pair[1])));
    format!("{baseline} / {callboard}")
}

fn notes(baseline: Option<&Figures>, callboard: &Figures) -> String {
    let mut notes = Vec::new();
    for (name, figures) in [("baseline", baseline), ("callboard", Some(callboard))] {
        let Some(figures) = figures else { continue };
        if figures.violations > 0 {
            notes.push(format!("{name}: {} violations", figures.violations));
        }
        if figures.is_generator_bottleneck {
            notes.push(format!("{name}: the load tool was the bottleneck"));
        }
        if figures.share_done < 0.999 {
            notes.push(format!("{name}: {:.1} % done", figures.share_done * 100.0));
        }
    }
    notes.join("; ")
}

fn optional(value: Option<f64>, digits: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
}

fn yes_or_no(is_kept: bool) -> String {
    if is_kept { "yes" } else { "no" }.to_owned()
}
