// For LD_PRELOAD: the calendar's clock jumps. CLOCK_JUMPS="3600 -3600 0" adds the next of these seconds to it every
// CLOCK_EVERY (default 0.3) seconds, round and round; the steady clock is left alone.
// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <sys/time.h>

#include <cstdlib>
#include <ctime>
#include <sstream>
#include <vector>

namespace {

using ClockGettime = int (*)(clockid_t, timespec*);

struct Jumps {
  ClockGettime real = reinterpret_cast<ClockGettime>(dlsym(RTLD_NEXT, "clock_gettime"));
  std::vector<long> seconds;
  double every = 0.3;

  Jumps() {
    std::istringstream text(std::getenv("CLOCK_JUMPS") ? std::getenv("CLOCK_JUMPS") : "0");
    for (long value; text >> value;) seconds.push_back(value);
    if (const char* period = std::getenv("CLOCK_EVERY")) every = std::atof(period);
  }
  long offset() const {
    timespec steady{};
    real(CLOCK_MONOTONIC, &steady);
    const double elapsed = static_cast<double>(steady.tv_sec) + 1e-9 * static_cast<double>(steady.tv_nsec);
    return seconds[static_cast<size_t>(elapsed / every) % seconds.size()];
  }
};

Jumps& jumps() {
  static Jumps the_jumps;
  return the_jumps;
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const int result = jumps().real(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += jumps().offset();
  return result;
}

time_t time(time_t* into) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (into) *into = now.tv_sec;
  return now.tv_sec;
}

int gettimeofday(timeval* time, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  *time = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

}  // extern "C"
