//! Numbers of several rounds.

use std::time::Duration;

/// The value below which `share` (0 to 1) of the values lie. 0 where there are none.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "there are far fewer values than a float counts exactly"
    )]
    let place = (last as f64 * share).ceil() as usize;
    sorted.get(place.min(last)).copied().unwrap_or_default()
}

/// The middle value, or what is between the two middle ones.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mirrored: Vec<_> = values.iter().map(|value| -value).collect();
    f64::midpoint(quantile(values, 0.5), -quantile(&mirrored, 0.5))
}

/// The median, and in brackets the least and the greatest.
pub(crate) fn spread(values: &[f64]) -> String {
    format!(
        "{} ({}–{})",
        short(median(values)),
        short(quantile(values, 0.0)),
        short(quantile(values, 1.0))
    )
}

/// With as many digits as are worth reading.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0..0.095 => format!("{value:.3}"),
        0.095..9.95 => format!("{value:.2}"),
        9.95..99.5 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
