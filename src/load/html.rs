//! A report as one page that needs nothing else: tables, plots as SVG, the command line.

use std::fmt::Write;

use super::{
    meter::Second,
    report::Report,
    table::{milliseconds, remarks, rows},
};

/// Width of a plot, in units of its own.
const WIDTH: u64 = 900;
/// Height of a plot.
const HEIGHT: u64 = 220;
/// Room for the labels beside and below a plot.
const MARGIN: u64 = 60;
/// Grid lines of a plot.
const LINES: u64 = 4;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1c2230}\
table{border-collapse:collapse}td,th{padding:.25rem .9rem;text-align:right;border-bottom:1px solid #dde}\
td:first-child,th:first-child{text-align:left}code{background:#eef;padding:.1rem .3rem}svg{width:100%;height:auto}\
text{font-size:12px;fill:#556}.bad{color:#b00020;font-weight:600}";

/// One line of a plot.
struct Curve {
    name: &'static str,
    colour: &'static str,
    values: Vec<u64>,
}

/// The page of a run that was started by `command_line`.
#[must_use]
pub fn page(report: &Report, command_line: &str) -> String {
    let title = format!("callboard load: {}", report.profile);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title><style>{STYLE}</style>\
         <h1>{title}</h1><p>{} rooms of {}, rate {}, {:.1} seconds, seed {}.</p><p><code>{}</code></p>",
        report.rooms,
        report.size,
        report.rate,
        report.window_secs,
        report.seed,
        escaped(command_line)
    );
    page.push_str(&latencies(report));
    page.push_str("<h2>Throughput, per second</h2>");
    page.push_str(&plot(
        whole_seconds(report),
        &[
            curve("deliveries", "#2563eb", report, |one| one.deliveries),
            curve("commands", "#059669", report, |one| one.commands),
            curve("joins", "#d97706", report, |one| one.joins),
            curve("refused", "#b00020", report, |one| one.refused),
        ],
    ));
    page.push_str("<h2>Latency, microseconds</h2>");
    page.push_str(&plot(
        whole_seconds(report),
        &[
            curve("p50", "#2563eb", report, |one| one.p50_us),
            curve("p99", "#b00020", report, |one| one.p99_us),
        ],
    ));
    page.push_str("<h2>Findings</h2><ul>");
    for remark in remarks(report) {
        let is_bad = remark.starts_with("VIOLATION") || remark.starts_with("THE LOAD TOOL");
        let class = if is_bad { " class=\"bad\"" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(page, "<li{class}>{}</li>", escaped(&remark));
    }
    page.push_str("</ul></html>\n");
    page
}

fn latencies(report: &Report) -> String {
    let mut table = String::from(
        "<table><tr><th></th><th>count</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>",
    );
    for (name, count, latency) in rows(report) {
        if count > 0 {
            let _ = write!(table, "<tr><td>{name}</td><td>{count}</td>");
            for us in [
                latency.p50,
                latency.p90,
                latency.p99,
                latency.p999,
                latency.max,
            ] {
                let _ = write!(table, "<td>{}</td>", milliseconds(us));
            }
            table.push_str("</tr>");
        }
    }
    table + "</table>"
}

fn curve(
    name: &'static str,
    colour: &'static str,
    report: &Report,
    value: impl Fn(&Second) -> u64,
) -> Curve {
    Curve {
        name,
        colour,
        values: whole_seconds(report).iter().map(value).collect(),
    }
}

/// What is plotted: the last second had only begun when the run ended.
fn whole_seconds(report: &Report) -> &[Second] {
    match report.series.split_last() {
        Some((_, whole)) if !whole.is_empty() => whole,
        Some(_) | None => &report.series,
    }
}

/// Curves over the seconds of the run, those that are not all zero.
fn plot(series: &[Second], curves: &[Curve]) -> String {
    let shown: Vec<&Curve> = curves
        .iter()
        .filter(|curve| curve.values.iter().any(|value| *value > 0))
        .collect();
    let all = shown.iter().flat_map(|curve| &curve.values);
    let top = all.max().copied().unwrap_or_default().max(1);
    let end = series.last().map_or(1, |last| last.at_secs).max(1);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\">",
        WIDTH + 2 * MARGIN,
        HEIGHT + MARGIN
    );
    for line in 0..=LINES {
        let y = HEIGHT + 10 - HEIGHT * line / LINES;
        let (label, second) = (top * line / LINES, end * line / LINES);
        let x = MARGIN + WIDTH * line / LINES;
        let _ = write!(
            svg,
            "<path d=\"M{MARGIN} {y}h{WIDTH}\" stroke=\"#dde\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{second} s</text>",
            MARGIN - 6,
            y + 4,
            HEIGHT + 28
        );
    }
    for (index, curve) in (0..).zip(&shown) {
        let points: Vec<String> = series
            .iter()
            .zip(&curve.values)
            .map(|(second, value)| {
                let x = MARGIN + WIDTH * second.at_secs.min(end) / end;
                format!("{x},{}", HEIGHT + 10 - HEIGHT * value / top)
            })
            .collect();
        let _ = write!(
            svg,
            "<polyline fill=\"none\" stroke=\"{0}\" stroke-width=\"2\" points=\"{1}\"/>\
             <text x=\"{2}\" y=\"{3}\" style=\"fill:{0}\">{4}</text>",
            curve.colour,
            points.join(" "),
            MARGIN + 110 * index,
            HEIGHT + 48,
            curve.name
        );
    }
    svg + "</svg>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
