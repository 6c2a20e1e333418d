/* A small NVML for tests: boards are lines of a text file, so that a test sees and changes them.
 *
 * HEADRACE_FAKE_NVML names a folder with
 *   driver        a number; when it changes, every call fails until nvmlInit is called again
 *   board-N       "key value" lines: present, mig, sm_mhz, limit_mw, min_mw, max_mw, lock_mhz,
 *                 draw_mw, energy_mj
 *   errors        "function code" lines: that function returns that code
 *   ignores       names of setters that report success and change nothing
 *   xids          "board number" lines: critical errors, each told once
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, NO_SIZE = 7,
       NO_DRIVER = 9, TIMEOUT = 10, LOST = 15 };
enum { BOARDS = 8 };
static const unsigned CLOCKS[] = {1980, 1740, 1500, 1260, 1020, 780, 540, 345};
static long generation = -1;
static int indexes[BOARDS];

static FILE *opened(const char *name, const char *mode) {
  char path[512];
  const char *folder = getenv("HEADRACE_FAKE_NVML");
  snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", name);
  return fopen(path, mode);
}

static long lookup(const char *file, const char *key, long otherwise) {
  char name[64];
  long value, found = otherwise;
  FILE *in = opened(file, "r");
  if (!in) return otherwise;
  while (fscanf(in, "%63s %ld", name, &value) == 2)
    if (!strcmp(name, key)) found = value;
  fclose(in);
  return found;
}

static long board(int index, const char *key) {
  char file[32];
  snprintf(file, sizeof file, "board-%d", index);
  return lookup(file, key, -1);
}

/* Write the whole file beside and rename it: a reader never sees half of it. */
static void put(int index, const char *key, long value) {
  char file[32], partial[40], names[32][64], from[600], to[600];
  long values[32];
  int count = 0, hit = 0;
  const char *folder = getenv("HEADRACE_FAKE_NVML");
  snprintf(file, sizeof file, "board-%d", index);
  snprintf(partial, sizeof partial, "board-%d.new", index);
  FILE *in = opened(file, "r"), *out = opened(partial, "w");
  while (in && count < 31 && fscanf(in, "%63s %ld", names[count], &values[count]) == 2) count++;
  if (in) fclose(in);
  for (int i = 0; i < count; i++) {
    if (!strcmp(names[i], key)) { values[i] = value; hit = 1; }
    fprintf(out, "%s %ld\n", names[i], values[i]);
  }
  if (!hit) fprintf(out, "%s %ld\n", key, value);
  fclose(out);
  snprintf(from, sizeof from, "%s/%s", folder, partial);
  snprintf(to, sizeof to, "%s/%s", folder, file);
  rename(from, to);
}

static int ignored(const char *function) { return lookup("ignores", function, 0) != 0; }

/* What every call begins with. */
static int checked(const char *function, const int *handle) {
  long code = lookup("errors", function, 0);
  if (generation < 0) return UNINITIALIZED;
  if (lookup("driver", "generation", 0) != generation) return NO_DRIVER;
  if (handle && board(*handle, "present") != 1) return LOST;
  return (int)code;
}
#define CHECK(handle) do { int c = checked(__func__, handle); if (c) return c; } while (0)

int nvmlInitWithFlags(unsigned flags) {
  long code = lookup("errors", __func__, 0);
  (void)flags;
  if (code) return (int)code;
  generation = lookup("driver", "generation", 0);
  for (int i = 0; i < BOARDS; i++) indexes[i] = i;
  return OK;
}
int nvmlShutdown(void) { generation = -1; return OK; }
const char *nvmlErrorString(int code) { return code == 4 ? "Insufficient Permissions" : "fake NVML says no"; }
int nvmlDeviceGetCount_v2(unsigned *count) {
  CHECK(NULL);
  for (*count = 0; *count < BOARDS && board((int)*count, "present") >= 0; ++*count) {}
  return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, int **handle) {
  CHECK(NULL);
  *handle = &indexes[index];
  return board((int)index, "present") == 1 ? OK : LOST;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, int **handle) {
  CHECK(NULL);
  int index = -1;
  if (sscanf(uuid, "MIG-%d", &index) != 1 && sscanf(uuid, "GPU-%d", &index) != 1) return NOT_FOUND;
  if (index < 0 || index >= BOARDS || board(index, "present") != 1) return NOT_FOUND;
  *handle = &indexes[index];
  return OK;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(int *mig, int **handle) {
  CHECK(mig);
  *handle = mig;
  return OK;
}
int nvmlDeviceGetUUID(int *handle, char *uuid, unsigned size) {
  CHECK(handle);
  snprintf(uuid, size, "GPU-%d", *handle);
  return OK;
}
int nvmlDeviceGetName(int *handle, char *name, unsigned size) {
  CHECK(handle);
  snprintf(name, size, "Fake H100");
  return OK;
}
int nvmlDeviceGetMigMode(int *handle, unsigned *now, unsigned *pending) {
  CHECK(handle);
  *now = *pending = board(*handle, "mig") == 1;
  return OK;
}
int nvmlDeviceGetSupportedMemoryClocks(int *handle, unsigned *count, unsigned *clocks) {
  CHECK(handle);
  if (!clocks || *count < 1) { *count = 1; return NO_SIZE; }
  *count = 1;
  clocks[0] = 2619;
  return OK;
}
int nvmlDeviceGetSupportedGraphicsClocks(int *handle, unsigned memory, unsigned *count, unsigned *clocks) {
  const unsigned all = sizeof CLOCKS / sizeof *CLOCKS;
  CHECK(handle);
  if (memory != 2619) return INVALID;
  if (!clocks || *count < all) { *count = all; return NO_SIZE; }
  *count = all;
  memcpy(clocks, CLOCKS, sizeof CLOCKS);
  return OK;
}
int nvmlDeviceGetClockInfo(int *handle, int type, unsigned *clock) {
  CHECK(handle);
  long now = board(*handle, "sm_mhz"), lock = board(*handle, "lock_mhz");
  (void)type;
  *clock = (unsigned)(lock > 0 && lock < now ? lock : now);
  return OK;
}
int nvmlDeviceGetPowerManagementLimit(int *handle, unsigned *limit) {
  CHECK(handle);
  *limit = (unsigned)board(*handle, "limit_mw");
  return OK;
}
int nvmlDeviceGetPowerManagementLimitConstraints(int *handle, unsigned *least, unsigned *most) {
  CHECK(handle);
  *least = (unsigned)board(*handle, "min_mw");
  *most = (unsigned)board(*handle, "max_mw");
  return OK;
}
int nvmlDeviceGetPowerUsage(int *handle, unsigned *draw) {
  CHECK(handle);
  *draw = (unsigned)board(*handle, "draw_mw");
  return OK;
}
int nvmlDeviceGetTotalEnergyConsumption(int *handle, unsigned long long *energy) {
  CHECK(handle);
  *energy = (unsigned long long)board(*handle, "energy_mj");
  return OK;
}
int nvmlDeviceSetPowerManagementLimit(int *handle, unsigned limit) {
  CHECK(handle);
  if (limit < board(*handle, "min_mw") || limit > board(*handle, "max_mw")) return INVALID;
  if (!ignored(__func__)) put(*handle, "limit_mw", limit);
  return OK;
}
int nvmlDeviceSetGpuLockedClocks(int *handle, unsigned least, unsigned most) {
  CHECK(handle);
  if (least > most || most > CLOCKS[0]) return INVALID;
  if (!ignored(__func__)) put(*handle, "lock_mhz", most);
  return OK;
}
int nvmlDeviceResetGpuLockedClocks(int *handle) {
  CHECK(handle);
  if (!ignored(__func__)) put(*handle, "lock_mhz", 0);
  return OK;
}
struct event { int *device; unsigned long long type, data; unsigned gpu, compute; };
int nvmlEventSetCreate(int **set) {
  CHECK(NULL);
  *set = &indexes[0];
  return OK;
}
int nvmlDeviceRegisterEvents(int *handle, unsigned long long types, int *set) {
  CHECK(handle);
  return set && types == 8 ? OK : INVALID;
}
int nvmlEventSetFree(int *set) { return set ? OK : INVALID; }
int nvmlEventSetWait_v2(int *set, struct event *event, unsigned timeout) {
  static int told = 0;
  int index, number, line = 0;
  CHECK(NULL);
  FILE *in = opened("xids", "r");
  while (in && fscanf(in, "%d %d", &index, &number) == 2)
    if (line++ == told) {
      told++;
      fclose(in);
      event->device = &indexes[index];
      event->type = 8;
      event->data = (unsigned long long)number;
      return OK;
    }
  if (in) fclose(in);
  else told = 0;
  (void)set, (void)timeout;
  return TIMEOUT;
}
