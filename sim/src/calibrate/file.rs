//! The costs of a machine as a file: TOML with the keys of [`Costs`], what is missing as usual.

use super::Calibration;
use crate::world::Costs;
use std::path::{Path, PathBuf};

/// Why costs cannot be taken from a file.
#[derive(Debug, thiserror::Error)]
pub enum CostsError {
    /// The file cannot be read.
    #[error("cannot read the costs {}: {cause}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The text is not one of costs.
    #[error("{}: {cause}", path.display())]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, key, and what was expected.
        cause: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("{}: `{key}` is {value}, expected nanoseconds from 0 to {NS_PER_BYTE_MAX}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: &'static str,
        /// What it is.
        value: f64,
    },
}

/// A processor that takes longer for a byte is a mistake of typing.
const NS_PER_BYTE_MAX: f64 = 100_000.0;

/// Reads costs that [`text`] or a person wrote.
///
/// # Errors
/// The file cannot be read, has another key, or a value that makes no sense.
pub fn load(path: &Path) -> Result<Costs, CostsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| CostsError::Read { path: path.to_path_buf(), cause })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Costs, CostsError> {
    let costs: Costs = toml::from_str(text)
        .map_err(|cause| CostsError::Syntax { path: path.to_path_buf(), cause: Box::new(cause) })?;
    for (key, value) in [
        ("send_ns_per_byte", costs.send_ns_per_byte),
        ("receive_ns_per_byte", costs.receive_ns_per_byte),
        ("hash_ns_per_byte", costs.hash_ns_per_byte),
    ] {
        if !(0.0..=NS_PER_BYTE_MAX).contains(&value) {
            return Err(CostsError::Value { path: path.to_path_buf(), key, value });
        }
    }
    Ok(costs)
}

/// The file of a calibration: its medians, with their spread beside them.
pub fn text(calibration: &Calibration) -> anyhow::Result<String> {
    let table = calibration.table();
    let said: Vec<String> = table.lines().map(|line| format!("# {line}\n")).collect();
    Ok(format!(
        "# samara-sim calibrate: {}. What is not measured stands as it is without this file.\n{}\n{}",
        calibration.conditions(),
        said.concat(),
        toml::to_string(&calibration.costs())?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{Settings, Spread};
    use crate::plan::Size;

    fn spread(median: f64) -> Spread {
        Spread { least: median - 0.1, median, most: median + 0.1 }
    }

    #[test]
    fn what_a_calibration_writes_a_run_reads_again() {
        let settings = Settings { bytes: Size(1 << 20), rate: None, repeats: 3 };
        let calibration =
            Calibration { settings, hash: spread(0.4), send: spread(2.5), receive: spread(3.5) };
        let text = text(&calibration).unwrap();
        assert!(
            text.starts_with("# samara-sim calibrate: 1MiB over loopback as fast as it goes, 3 times."),
            "{text}"
        );
        assert_eq!(parse(Path::new("costs.toml"), &text).unwrap(), calibration.costs());
    }

    #[test]
    fn costs_that_make_no_sense_are_refused_with_their_key() {
        let refused = |text: &str| parse(Path::new("costs.toml"), text).unwrap_err().to_string();
        assert_eq!(
            refused("send_ns_per_byte = -1.0"),
            "costs.toml: `send_ns_per_byte` is -1, expected nanoseconds from 0 to 100000"
        );
        assert!(refused("hash_ns_per_byte = nan").contains("`hash_ns_per_byte` is NaN"));
        assert!(refused("sent = 1").contains("unknown field `sent`"));
    }
}
