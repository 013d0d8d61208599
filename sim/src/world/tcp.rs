//! How fast one TCP connection may send where the way is long or loses packets, whatever room its links have.
//!
//! A window's worth of bytes leaves in each round trip. The window begins with ten segments (RFC 6928) and grows by what
//! is sent, as in slow start, up to what losses leave of it on average, or to the kernel's send buffer. The variation
//! around that average, time-outs and the pause after an idle time are not modelled.

use super::clock::Nanos;
use super::network::LinkId;

/// Bytes of a full segment.
pub(super) const SEGMENT_BYTES: f64 = 1448.0;
const WINDOW_SEGMENTS_FIRST: f64 = 10.0;
/// Linux's default limit of a connection's send buffer (`net.ipv4.tcp_wmem`).
const WINDOW_BYTES_MAX: f64 = 4.0 * 1024.0 * 1024.0;

/// One direction of one connection.
#[derive(Debug)]
pub(super) struct Tcp {
    /// A link that nobody else uses; its rate is the one that the window allows.
    pub(super) own: LinkId,
    round_trip: Nanos,
    /// Bytes that may be under way.
    window: f64,
    window_max: f64,
}

impl Tcp {
    /// A new connection; `loss_events` of all packets are lost, bursts counted once.
    pub(super) fn new(control: &str, round_trip: Nanos, loss_events: f64, own: LinkId) -> Self {
        let average = window_segments(control, round_trip.0 as f64 / 1e9, loss_events) * SEGMENT_BYTES;
        let window_max = average.min(WINDOW_BYTES_MAX);
        let window = (WINDOW_SEGMENTS_FIRST * SEGMENT_BYTES).min(window_max);
        Self { own, round_trip, window, window_max }
    }

    /// Segments of a frame of so many bytes that are under way when its last one leaves.
    pub(super) fn segments_under_way(&self, bytes: u64) -> u64 {
        ((self.window.min(bytes as f64) / SEGMENT_BYTES) as u64).max(1)
    }

    /// Bits per second, on average, of a frame of so many bytes that is sent next.
    pub(super) fn send(&mut self, bytes: u64) -> u64 {
        let bytes = bytes as f64;
        let (mut rounds, mut left, mut window) = (0.0, bytes, self.window);
        while left > window && window < self.window_max {
            left -= window;
            rounds += 1.0;
            window = (window * 2.0).min(self.window_max);
        }
        rounds += left / window;
        self.window = (self.window + bytes).min(self.window_max);
        (bytes * 8e9 / (rounds * self.round_trip.0 as f64)) as u64
    }
}

/// The average window that random losses leave.
///
/// Reno: 1.22/√p segments (Mathis, Semke, Mahdavi, Ott: The Macroscopic Behavior of the TCP Congestion Avoidance
/// Algorithm, 1997, with an acknowledgement for each segment). CUBIC: 1.054·(RTT/p)^¾, and never less than Reno
/// (RFC 9438, sections 4.3 and 5.1, with C = 0.4 and β = 0.7). BBR does not take a few losses for congestion. Others
/// count as Reno. With + − × ÷ √ only, so that a trace is the same on every machine.
fn window_segments(control: &str, round_trip_seconds: f64, loss_events: f64) -> f64 {
    if loss_events <= 0.0 || control == "bbr" {
        return f64::INFINITY;
    }
    let reno = 1.22 / loss_events.sqrt();
    if control != "cubic" {
        return reno;
    }
    let root = (round_trip_seconds / loss_events).sqrt().sqrt();
    reno.max(1.054 * root * root * root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mbit/s of a connection that has been sending for long.
    fn steady(control: &str, round_trip_ms: u64, loss_events: f64) -> f64 {
        let mut tcp = Tcp::new(control, Nanos(round_trip_ms * 1_000_000), loss_events, 0);
        (0..1000).for_each(|_| {
            tcp.send(128 << 10);
        });
        tcp.send(128 << 10) as f64 / 1e6
    }

    #[test]
    fn losses_and_round_trips_hold_a_connection_back_as_the_laws_say() {
        // 12.2 segments of 1448 bytes in 60 ms.
        assert!((2.34..2.37).contains(&steady("cubic", 60, 0.01)), "{}", steady("cubic", 60, 0.01));
        assert_eq!(steady("cubic", 60, 0.01), steady("reno", 60, 0.01));
        // A long way with few losses is what CUBIC is for.
        let (cubic, reno) = (steady("cubic", 100, 0.00001), steady("reno", 100, 0.00001));
        assert!((115.0..125.0).contains(&cubic) && (44.0..46.0).contains(&reno), "{cubic} {reno}");
        assert!(steady("bbr", 60, 0.01) > 500.0);
    }

    #[test]
    fn a_new_connection_doubles_its_window_in_each_round_trip() {
        let mut tcp = Tcp::new("cubic", Nanos(100_000_000), 0.0, 0);
        // 10, 20, 40 segments and 20 of the next 80.
        let rate = tcp.send(90 * 1448) as f64;
        let seconds = 90.0 * 1448.0 * 8.0 / rate;
        assert!((seconds - 0.325).abs() < 1e-6, "{seconds}");
        assert_eq!(tcp.segments_under_way(1 << 30), 100);
    }

    #[test]
    fn a_window_never_grows_beyond_what_losses_leave() {
        let mut tcp = Tcp::new("reno", Nanos(60_000_000), 0.25, 0);
        let first = tcp.send(128 << 10);
        assert_eq!((first, tcp.segments_under_way(128 << 10)), (tcp.send(128 << 10), 2));
    }
}
