//! Detectors of anomalies, without a server: injected faults with their delays, false alarms in
//! clean signals, the same findings for any cut of the samples, and the files of a benchmark.

mod catalogue;
mod faults;
mod measure;
mod nab;
mod properties;
mod signals;
