"""What is cruel: every weather that a world may have. Probabilities are per call, per message or per attempt; times in seconds."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

import msgspec


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How bad it is, until the calm. `name` tells it apart in failures."""

    # Messages of the broker.
    message_loss: float = 0.0
    message_double: float = 0.0
    message_late: float = 0.0
    """Comes up to `late_max_s` late, and so after those that were sent later."""
    late_max_s: float = 60.0

    # The store and the network before it.
    store_refusal: float = 0.0
    """A call fails and has changed nothing."""
    store_silence: float = 0.0
    """A call has done its work and its answer is lost."""
    store_late: float = 0.0
    """A call fails, and is done all the same, seconds later."""
    store_repeat: float = 0.0
    """A call is done twice."""
    store_slow: float = 0.0
    """A packet takes up to two seconds."""
    hint_loss: float = 0.0
    outage_s: float = 0.0
    """The server hangs once for so long."""
    restart: bool = False
    """The server is killed once, and comes back without its last second."""
    flush: bool = False
    """All data are lost once; an operator applies the manifest again."""
    server_steps_s: tuple[float, ...] = ()
    """The server's own time steps by each of these, one after another."""

    # Processes.
    kill_every_s: float = 0.0
    """Mean time between two kills of some process; one of four hits a process that is just starting."""
    kill_after_acceptance: float = 0.0
    """An alert worker dies between a service's acceptance and the log."""
    clock_skew_s: float = 0.0
    """The machines' own clocks are wrong by up to this, and step."""
    clock_drift_ppm: float = 0.0
    """Monotonic clocks go wrong by up to this."""

    no_beat_s: float = 0.0
    """Every beat stands still once for so long, and all that it does with it."""
    no_worker_s: float = 0.0
    """Every probe worker is dead once for so long; beats and alert workers go on."""

    # People and data.
    operate_every_s: float = 0.0
    rubbish_every_s: float = 0.0
    """Mean time between two values that become unreadable."""
    service_refusal: float = 0.0
    """One of the services refuses a message."""
    service_slow: float = 0.0

    start_failure: float = 0.0
    """A process cannot begin its work: a rules file that cannot be read at that moment, say."""

    flap_every_s: float = 25.0
    """Mean time between two changes of one target's health."""
    live_s: float = 70.0
    calm_s: float = 140.0
    """How long after the weather everything must be in order."""

    @property
    def ours_s(self) -> float:
        """For how long nobody probes, seconds."""
        return self.outage_s + self.no_beat_s + self.no_worker_s

    @property
    def steady(self) -> bool:
        """Whether every probe happens at its turn, but for an outage of ours as a whole."""
        unsteady = (self.message_loss, self.message_late, self.store_refusal, self.store_silence, self.store_late, self.store_slow)
        return not (any(unsteady) or self.kill_every_s or self.server_steps_s or self.flush or self.restart)


_STORM: Final = Weather(
    message_loss=0.05,
    message_double=0.05,
    message_late=0.02,
    store_refusal=0.01,
    store_silence=0.01,
    store_late=0.002,
    store_repeat=0.005,
    store_slow=0.005,
    hint_loss=0.2,
    kill_every_s=12.0,
    kill_after_acceptance=0.05,
    clock_skew_s=5.0,
    clock_drift_ppm=200.0,
    operate_every_s=6.0,
    service_refusal=0.1,
    service_slow=0.05,
    calm_s=160.0,
)

WEATHERS: Final = MappingProxyType(
    {
        "fair": Weather(),
        "broker": Weather(message_loss=0.1, message_double=0.1, message_late=0.05),
        "store": Weather(
            store_refusal=0.03,
            store_silence=0.03,
            store_late=0.005,
            store_repeat=0.02,
            store_slow=0.01,
            hint_loss=0.3,
            operate_every_s=15.0,
        ),
        "outage": Weather(outage_s=30.0, operate_every_s=20.0),
        "no beat": Weather(no_beat_s=40.0),
        "short outages": Weather(outage_s=8.5, no_beat_s=8.0),
        "no worker": Weather(no_worker_s=25.0),
        "kills": Weather(kill_every_s=5.0, kill_after_acceptance=0.2, start_failure=0.2, operate_every_s=20.0),
        "clocks": Weather(clock_skew_s=86_400.0, clock_drift_ppm=500.0, message_late=0.02, kill_every_s=20.0),
        "time steps": Weather(server_steps_s=(3_600.0, -3_600.0, 86_400.0, -86_400.0), calm_s=160.0),
        "step back": Weather(server_steps_s=(-3_600.0,), flap_every_s=10.0, kill_every_s=20.0, operate_every_s=4.0, calm_s=160.0),
        "small steps": Weather(server_steps_s=(-5.0, 10.0, -60.0), flap_every_s=10.0, operate_every_s=15.0, calm_s=160.0),
        "operators": Weather(operate_every_s=1.5, store_slow=0.02, store_silence=0.01, store_late=0.02),
        "rubbish": Weather(rubbish_every_s=4.0, operate_every_s=15.0, calm_s=540.0),
        "services": Weather(service_refusal=0.3, service_slow=0.2, kill_after_acceptance=0.2, flap_every_s=15.0, calm_s=160.0),
        "restart": Weather(restart=True, kill_every_s=20.0, operate_every_s=20.0),
        "flush": Weather(flush=True, kill_every_s=25.0),
        "storm": _STORM,
        "crowd": Weather(operate_every_s=0.3, store_late=0.05, store_slow=0.02, live_s=40.0),
        "hurricane": msgspec.structs.replace(
            _STORM,
            outage_s=20.0,
            rubbish_every_s=15.0,
            restart=True,
            kill_every_s=8.0,
            start_failure=0.1,
            clock_skew_s=86_400.0,
            calm_s=540.0,
        ),
    }
)
