//! What is measured, in which unit, and which figure of it is the headline.
//!
//! The one list of metrics: the language takes its choices for `expect` and `published` from it, and `measure` and
//! the reports their figures. How a figure is made is not known here.

/// A metric of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// The pass over the prompt.
    TimeToFirstToken,
    /// The mean of a sequence's decode times: one value for each sequence, which is the resampling unit.
    TimePerOutputToken,
    /// Decoded tokens of a sequence over the sum of their times.
    TokensPerSecond,
    /// One inference.
    Latency,
    /// Items of an inference over its time.
    ItemsPerSecond,
    /// From the start of the process to the engine's first line.
    ProcessStart,
    /// From the request to a loaded model.
    Load,
    /// The first and coldest pass, over the prompt or of an inference, from the warm-up.
    FirstInference,
    /// Process start, load and first inference together.
    ColdStart,
    /// Peak resident set of the engine's process.
    PeakResident,
    /// Peak memory of the device's allocator.
    PeakDevice,
    /// The energy of a block by the tokens that were decoded in it; that of their prompts is in it.
    EnergyPerToken,
    /// The energy of a block by its inferences.
    EnergyPerInference,
}

/// What `expect` calls the ratio of medians against the baseline; it is no metric of one cell.
pub const SPEED_UP: &str = "speed-up";

/// The names that `expect` takes: [`SPEED_UP`], and those of all metrics in the order of reports.
pub const EXPECTED: [&str; Metric::ALL.len() + 1] = {
    let mut names = [SPEED_UP; Metric::ALL.len() + 1];
    let mut index = 0;
    while index < Metric::ALL.len() {
        names[index + 1] = Metric::ALL[index].name();
        index += 1;
    }
    names
};

/// The unit of a metric's raw value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    PerSecond,
    Bytes,
    Joules,
}

impl Unit {
    /// The name in machine-readable reports.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Nanoseconds => "ns",
            Unit::PerSecond => "1/s",
            Unit::Bytes => "bytes",
            Unit::Joules => "J",
        }
    }
}

impl Metric {
    /// All metrics, in the order of reports.
    pub const ALL: [Metric; 13] = [
        Metric::TimeToFirstToken,
        Metric::TimePerOutputToken,
        Metric::TokensPerSecond,
        Metric::Latency,
        Metric::ItemsPerSecond,
        Metric::ColdStart,
        Metric::ProcessStart,
        Metric::Load,
        Metric::FirstInference,
        Metric::PeakResident,
        Metric::PeakDevice,
        Metric::EnergyPerToken,
        Metric::EnergyPerInference,
    ];

    /// The name in pipelines (`expect`, `published`) and machine-readable reports.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::TimeToFirstToken => "time-to-first-token",
            Metric::TimePerOutputToken => "time-per-output-token",
            Metric::TokensPerSecond => "tokens-per-second",
            Metric::Latency => "latency",
            Metric::ItemsPerSecond => "items-per-second",
            Metric::ProcessStart => "process-start",
            Metric::Load => "load-time",
            Metric::FirstInference => "first-inference",
            Metric::ColdStart => "cold-start",
            Metric::PeakResident => "peak-resident",
            Metric::PeakDevice => "peak-device",
            Metric::EnergyPerToken => "energy-per-token",
            Metric::EnergyPerInference => "energy-per-inference",
        }
    }

    /// The metric of a name.
    pub fn parse(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// What a reader sees.
    pub fn title(self) -> &'static str {
        match self {
            Metric::TimeToFirstToken => "time to first token",
            Metric::TimePerOutputToken => "time per output token",
            Metric::TokensPerSecond => "tokens/s",
            Metric::Latency => "latency",
            Metric::ItemsPerSecond => "items/s",
            Metric::ProcessStart => "process start",
            Metric::Load => "model load",
            Metric::FirstInference => "first inference",
            Metric::ColdStart => "cold start",
            Metric::PeakResident => "peak memory",
            Metric::PeakDevice => "peak device memory",
            Metric::EnergyPerToken => "energy per output token",
            Metric::EnergyPerInference => "energy per inference",
        }
    }

    /// The unit of its raw values.
    pub fn unit(self) -> Unit {
        match self {
            Metric::TokensPerSecond | Metric::ItemsPerSecond => Unit::PerSecond,
            Metric::PeakResident | Metric::PeakDevice => Unit::Bytes,
            Metric::EnergyPerToken | Metric::EnergyPerInference => Unit::Joules,
            _ => Unit::Nanoseconds,
        }
    }

    /// The raw value of a number as a pipeline writes it, where times are seconds.
    pub fn from_written(self, value: f64) -> f64 {
        match self.unit() {
            Unit::Nanoseconds => value * 1e9,
            Unit::PerSecond | Unit::Bytes | Unit::Joules => value,
        }
    }

    /// True where a larger value is the better one.
    pub fn more_is_better(self) -> bool {
        self.unit() == Unit::PerSecond
    }

    /// True for a peak, whose headline is the largest value of all sessions and not their median.
    pub fn is_peak(self) -> bool {
        self.unit() == Unit::Bytes
    }
}
