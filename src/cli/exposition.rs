//! The two text formats of `GET /metrics`: OpenMetrics, and the classic format of Prometheus (version 0.0.4).

use http::header::{self, HeaderValue};
use standpipe::{Reply, Request};

const OPEN_METRICS: &str = "application/openmetrics-text";
const CLASSIC: &str = "text/plain";

/// Returns the answer in the format that the client prefers. `open_metrics` is a text in the format OpenMetrics 1.0.
pub(crate) fn reply(request: &Request, open_metrics: String) -> Reply {
    let lines = request.headers().get_all(header::ACCEPT).into_iter();
    let accept: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let (content_type, text) = if prefers_open_metrics(&accept.join(",")) {
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        (content_type, open_metrics)
    } else {
        let content_type = "text/plain; version=0.0.4; charset=utf-8";
        (content_type, classic(&open_metrics))
    };
    Reply::bytes(200, HeaderValue::from_static(content_type), text)
        .header(header::VARY, HeaderValue::from_static("Accept"))
}

/// Returns whether the client names OpenMetrics, and does not prefer the classic format. Every other client gets the
/// classic format, which people can read in a browser and `promtool check metrics` accepts.
fn prefers_open_metrics(accept: &str) -> bool {
    let open_metrics = weight(accept, OPEN_METRICS);
    open_metrics > 0 && open_metrics >= weight(accept, CLASSIC)
}

/// Returns the largest weight that `accept` gives to `media_type`, in thousandths (RFC 9110 §12.4.2). It is 0 if the type
/// is not named.
fn weight(accept: &str, media_type: &str) -> u32 {
    let weights = accept.split(',').filter_map(|item| {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next()?;
        let mut parameters = parts.filter_map(|part| part.split_once('='));
        let weight = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        let weight = weight.map_or(Some(1.0), |(_, weight)| weight.trim().parse::<f32>().ok());
        name.eq_ignore_ascii_case(media_type)
            .then(|| (weight.unwrap_or(0.0).clamp(0.0, 1.0) * 1000.0) as u32)
    });
    weights.max().unwrap_or(0)
}

/// Returns the same metrics in the classic format. It differs from OpenMetrics in two points that matter here: `# HELP`
/// and `# TYPE` of a counter name the sample, with `_total`, and there is no `# EOF`.
fn classic(open_metrics: &str) -> String {
    let counters: Vec<&str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut classic = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines().filter(|line| *line != "# EOF") {
        let comment = ["# HELP ", "# TYPE "].iter().find_map(|kind| {
            let (name, rest) = line.strip_prefix(kind)?.split_once(' ')?;
            counters.contains(&name).then_some((kind, name, rest))
        });
        match comment {
            Some((kind, name, rest)) => {
                classic.extend([kind, name, "_total ", rest]);
            }
            None => classic.push_str(line),
        }
        classic.push('\n');
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_chooses_the_format() {
        // Prometheus 3, and Prometheus 2 with the classic format first.
        let new = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
            application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;q=0.3,*/*;q=0.1";
        let classic_first = "text/plain;version=0.0.4;q=1, application/openmetrics-text; q=0.9";
        for (accept, open_metrics) in [
            (new, true),
            (classic_first, false),
            ("application/openmetrics-text", true),
            ("APPLICATION/OpenMetrics-Text ; Q=0.1", true),
            ("application/openmetrics-text;q=0", false),
            ("application/openmetrics-text;q=0.000, */*", false),
            ("application/openmetrics-text;q=x", false),
            ("", false),
            ("*/*", false),
            ("text/html,application/xhtml+xml,*/*;q=0.8", false),
            ("application/openmetrics-textual", false),
        ] {
            assert_eq!(prefers_open_metrics(accept), open_metrics, "{accept}");
        }
    }

    #[test]
    fn classic_form_names_counters_by_their_samples() {
        let open_metrics = "# HELP a_clients Clients.\n# TYPE a_clients gauge\na_clients 1\n\
            # HELP a_lost Lost.\n# TYPE a_lost counter\na_lost_total{by=\"x\"} 2\n# EOF\n";
        assert_eq!(
            classic(open_metrics),
            "# HELP a_clients Clients.\n# TYPE a_clients gauge\na_clients 1\n\
             # HELP a_lost_total Lost.\n# TYPE a_lost_total counter\na_lost_total{by=\"x\"} 2\n"
        );
    }
}
