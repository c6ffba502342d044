//! Whether the machine is as fast and as cool as when its blocks began, as far as it tells.
//!
//! Linux tells the clock of each core (`cpufreq`) and temperatures (`thermal`), a Mac how hard heat presses. The clock is
//! what a figure depends on, so where it can be read it alone decides: a processor may be warm and fast. What can't be
//! read is never claimed, and virtual machines mostly tell nothing. How long to rest is [`Cooling`]'s to say; nothing
//! sleeps here.

use std::hint::spin_loop;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::probe::System;

/// The clock may fall by so much before it counts as lower.
const SLOWER: f64 = 0.05;
/// So much warmer than at first is warm, where no clock is told.
const WARMER: i64 = 10_000;
/// A core that did nothing has no clock to speak of.
const SPIN: Duration = Duration::from_millis(5);
/// Cores and zones that are asked.
const MOST: u32 = 64;

/// One rest lasts at most so long, all of a group's together so long, and looks again so often.
const REST: Duration = Duration::from_secs(5);
const RESTS: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(250);

/// What the machine told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The fastest core's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kilohertz: Option<u64>,
    /// The warmest zone's temperature, in thousandths of a degree Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millidegrees: Option<i64>,
    /// How hard heat presses on a Mac; 0 is not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<u64>,
}

impl Reading {
    /// Asks the machine; where it tells clocks, a core works for five milliseconds so that there is one.
    /// `root` is where the system's files lie.
    pub fn now(root: &Path) -> Reading {
        let system = System::at(root);
        if system.exists("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq") {
            let begun = Instant::now();
            while begun.elapsed() < SPIN {
                spin_loop();
            }
        }
        Reading { pressure: pressure(), ..Reading::of(&system) }
    }

    fn of(system: &System) -> Reading {
        let number = |path: String| system.line(&path)?.parse::<i64>().ok();
        let clock = |core| number(format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"));
        let zone = |zone| number(format!("sys/class/thermal/thermal_zone{zone}/temp"));
        Reading {
            kilohertz: (0..MOST).filter_map(clock).filter_map(|clock| u64::try_from(clock).ok()).max(),
            // A sensor that is broken or switched off says zero, or what no machine survives.
            millidegrees: (0..MOST).filter_map(zone).filter(|degrees| (1_000..150_000).contains(degrees)).max(),
            pressure: None,
        }
    }

    /// In words; `None` where the machine tells nothing.
    pub fn line(&self) -> Option<String> {
        let clock = self.kilohertz.map(|kilohertz| format!("the fastest core ran at {} MHz", kilohertz / 1000));
        let heat = self.millidegrees.map(|degrees| format!("the warmest sensor told {} °C", degrees / 1000));
        let pressure = self.pressure.map(|level| format!("the system told heat level {level}"));
        let told: Vec<String> = [clock, heat, pressure].into_iter().flatten().collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    fn tells_nothing(&self) -> bool {
        *self == Reading::default()
    }

    /// What is out of the band that `first` was in, in words with its figures.
    pub fn outside(&self, first: &Reading) -> Option<String> {
        if let (Some(now), Some(first)) = (self.kilohertz, first.kilohertz) {
            let part = now as f64 / first as f64;
            return (part < 1.0 - SLOWER)
                .then(|| format!("the clock was {} MHz, and {} MHz when the blocks began", now / 1000, first / 1000));
        }
        if let (Some(now), Some(first)) = (self.pressure, first.pressure) {
            return (now > first).then(|| format!("the system told of heat (level {now})"));
        }
        let (now, first) = (self.millidegrees?, first.millidegrees?);
        (now > first + WARMER)
            .then(|| format!("it was {} °C warm, and {} °C when the blocks began", now / 1000, first / 1000))
    }
}

/// `com.apple.system.thermalpressurelevel` of the notification centre; it needs no process and no rights.
#[cfg(target_os = "macos")]
fn pressure() -> Option<u64> {
    unsafe extern "C" {
        fn notify_register_check(name: *const std::ffi::c_char, token: *mut std::ffi::c_int) -> u32;
        fn notify_get_state(token: std::ffi::c_int, state: *mut u64) -> u32;
        fn notify_cancel(token: std::ffi::c_int) -> u32;
    }
    let (mut token, mut state) = (0, 0u64);
    // SAFETY: the name ends in NUL, both pointers are to live values of the right types, and 0 is success.
    unsafe {
        if notify_register_check(c"com.apple.system.thermalpressurelevel".as_ptr(), &raw mut token) != 0 {
            return None;
        }
        let told = notify_get_state(token, &raw mut state) == 0;
        notify_cancel(token);
        told.then_some(state)
    }
}

#[cfg(not(target_os = "macos"))]
fn pressure() -> Option<u64> {
    None
}

/// The rests of one group of cells: before a block the machine shall be as it was before the first.
#[derive(Debug, Clone, PartialEq)]
pub struct Cooling {
    first: Reading,
    left: Duration,
}

/// What to do before a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Measure.
    Go,
    /// Wait so long, and ask again.
    Rest(Duration),
    /// Measure, though it is not as it was: the time for rests is over.
    GoThough(String),
}

impl Cooling {
    /// Takes what the machine tells now for what it shall be before each block; `None` where it tells nothing.
    pub fn from(first: Reading) -> Option<Cooling> {
        (!first.tells_nothing()).then_some(Cooling { first, left: RESTS })
    }

    /// The reading before the first block.
    pub fn first(&self) -> Reading {
        self.first
    }

    /// What to do after `rested` before this block.
    pub fn step(&mut self, now: &Reading, rested: Duration) -> Step {
        let Some(outside) = now.outside(&self.first) else { return Step::Go };
        let step = STEP.min(self.left);
        if rested >= REST || step.is_zero() {
            return Step::GoThough(outside);
        }
        self.left -= step;
        Step::Rest(step)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn clock(megahertz: u64) -> Reading {
        Reading { kilohertz: Some(megahertz * 1000), millidegrees: Some(90_000), pressure: None }
    }

    /// Rests before one block on a machine that tells these readings, the last one for ever.
    fn before_block(cooling: &mut Cooling, readings: &[Reading]) -> (Duration, Option<String>) {
        let mut rested = Duration::ZERO;
        let mut readings = readings.iter().copied();
        let mut now = readings.next().unwrap_or_default();
        loop {
            match cooling.step(&now, rested) {
                Step::Go => return (rested, None),
                Step::GoThough(why) => return (rested, Some(why)),
                Step::Rest(step) => rested += step,
            }
            now = readings.next().unwrap_or(now);
        }
    }

    #[test]
    fn it_rests_until_the_clock_is_back_and_not_longer() {
        let mut cooling = Cooling::from(clock(3000)).unwrap();
        assert_eq!(before_block(&mut cooling, &[clock(2990)]), (Duration::ZERO, None));
        let (rested, why) = before_block(&mut cooling, &[clock(2000), clock(2500), clock(2900)]);
        assert_eq!((rested, why), (2 * STEP, None));
    }

    #[test]
    fn it_does_not_rest_for_ever() {
        let mut cooling = Cooling::from(clock(3000)).unwrap();
        let (rested, why) = before_block(&mut cooling, &[clock(2000)]);
        assert_eq!(rested, REST);
        assert_eq!(why.unwrap(), "the clock was 2000 MHz, and 3000 MHz when the blocks began");
        let rest_of_all: Duration = (0..100).map(|_| before_block(&mut cooling, &[clock(2000)]).0).sum();
        assert_eq!(rested + rest_of_all, RESTS);
    }

    #[test]
    fn warmth_counts_only_where_no_clock_is_told() {
        let warm = |degrees: i64| Reading { millidegrees: Some(degrees * 1000), ..Reading::default() };
        assert_eq!(warm(59).outside(&warm(50)), None);
        assert_eq!(warm(61).outside(&warm(50)).unwrap(), "it was 61 °C warm, and 50 °C when the blocks began");
        assert_eq!(Reading { millidegrees: Some(110_000), ..clock(3000) }.outside(&clock(3000)), None);
        let pressed = |level| Reading { pressure: Some(level), ..warm(50) };
        assert!(pressed(2).outside(&pressed(0)).is_some());
        assert_eq!(pressed(0).outside(&pressed(1)), None);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_claimed_nothing_of() {
        assert_eq!(Cooling::from(Reading::default()), None);
        assert_eq!(Reading::default().outside(&clock(3000)), None);
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let system = System::at(folder.path());
        assert_eq!(Reading::of(&system), Reading::default());
        write("sys/class/thermal/thermal_zone0/temp", "0\n");
        write("sys/class/thermal/thermal_zone3/temp", "47500\n");
        write("sys/class/thermal/thermal_zone4/temp", "-274000\n");
        write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1200000\n");
        write("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3400000\n");
        let expected = Reading { kilohertz: Some(3_400_000), millidegrees: Some(47_500), pressure: None };
        assert_eq!(Reading::of(&system), expected);
    }
}
