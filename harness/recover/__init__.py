"""Nothing stays broken: healing on every way out, the watchdog, locks, and the doctor with what it looks for."""
