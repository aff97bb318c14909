/* Habana's management library for tests: the functions that the driver calls, over the folder that FAKE_HLML names.
 *
 *   devices/<bdf>/{index,serial,uuid,module_id,memory_total}   a file that is missing = no data
 *   devices/<bdf>/events            lines, each the bits of an event in decimal; appended
 *   fail/<function>[@<bdf>]         what hlml_<function> returns instead, for all devices or for one
 *
 * All is read at each call. With -DADDRESS=15 the answer to hlml_device_get_pci_info has the layout of older releases.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef ADDRESS
#define ADDRESS 19
#endif

enum { UNINITIALIZED = 1, INVALID = 2, TWICE = 5, NOT_FOUND = 6, SMALL = 7, TIMEOUT = 10, MEMORY = 20, NO_DATA = 21 };
enum { MOST = 64, TEXT = 1024 };

struct device {
	char bdf[32];
};

struct registered {
	struct device *device;
	unsigned long long mask;
	long read;
};

struct set {
	int count;
	struct registered registered[MOST];
};

struct pci_info {
	unsigned int bus;
	char bus_id[ADDRESS];
	unsigned int device, domain, pci_device_id;
	char caps[40];
};

struct memory {
	unsigned long long free, total, used;
};

struct event_data {
	void *device;
	unsigned long long event_type;
};

static int initialized;
static struct device devices[MOST];
static int known;

static FILE *open_in(const char *format, const char *a, const char *b)
{
	const char *folder = getenv("FAKE_HLML");
	char path[4096], name[512];

	snprintf(name, sizeof(name), format, a, b);
	snprintf(path, sizeof(path), "%s/%s", folder ? folder : ".", name);
	return fopen(path, "r");
}

/* Whether there was such a file; its first line, without its end. */
static int line(FILE *file, char *text, int size)
{
	if (!file)
		return 0;
	if (!fgets(text, size, file))
		text[0] = 0;
	text[strcspn(text, "\n")] = 0;
	fclose(file);
	return 1;
}

/* What a call is to return, 0 = go on. */
static int refusal(const char *function, struct device *device)
{
	char said[TEXT];
	int code = 0;

	if (device && line(open_in("fail/%s@%s", function, device->bdf), said, sizeof(said)))
		code = atoi(said);
	if (!code && line(open_in("fail/%s", function, ""), said, sizeof(said)))
		code = atoi(said);
	if (!code && !initialized && strcmp(function, "init"))
		code = UNINITIALIZED;
	return code;
}

#define REFUSE(function, device)                           \
	do {                                               \
		int refused = refusal(function, device);   \
		if (refused)                               \
			return refused;                    \
	} while (0)

static int fact(struct device *device, const char *name, char *text, int size)
{
	return line(open_in("devices/%s/%s", device->bdf, name), text, size) ? 0 : NO_DATA;
}

/* The same address has the same handle, as long as the library is loaded. */
static struct device *handle_of(const char *bdf)
{
	for (int i = 0; i < known; i++)
		if (!strcmp(devices[i].bdf, bdf))
			return &devices[i];
	if (known == MOST)
		return NULL;
	snprintf(devices[known].bdf, sizeof(devices[known].bdf), "%.31s", bdf);
	return &devices[known++];
}

/* The number of devices, or the one that is asked for by index or address. */
static struct device *find(int index, const char *bdf, unsigned int *count)
{
	char path[4096], said[TEXT];
	const char *folder = getenv("FAKE_HLML");
	struct device *found = NULL;
	struct dirent *entry;
	DIR *all;

	snprintf(path, sizeof(path), "%s/devices", folder ? folder : ".");
	all = opendir(path);
	while (all && (entry = readdir(all))) {
		struct device *device;

		if (entry->d_name[0] == '.' || !(device = handle_of(entry->d_name)))
			continue;
		++*count;
		if (bdf ? !strcmp(bdf, device->bdf) : !fact(device, "index", said, sizeof(said)) && atoi(said) == index)
			found = device;
	}
	if (all)
		closedir(all);
	return found;
}

int hlml_init(void)
{
	REFUSE("init", NULL);
	if (initialized)
		return TWICE;
	initialized = 1;
	return 0;
}

int hlml_shutdown(void)
{
	REFUSE("shutdown", NULL);
	initialized = 0;
	return 0;
}

int hlml_device_get_count(unsigned int *count)
{
	REFUSE("device_get_count", NULL);
	*count = 0;
	find(-1, NULL, count);
	return 0;
}

int hlml_device_get_handle_by_index(unsigned int index, void **handle)
{
	unsigned int count = 0;
	struct device *device = find((int)index, NULL, &count);

	REFUSE("device_get_handle_by_index", device);
	*handle = device;
	return device ? 0 : NOT_FOUND;
}

int hlml_device_get_handle_by_pci_bus_id(const char *bdf, void **handle)
{
	unsigned int count = 0;
	struct device *device = find(-1, bdf, &count);

	REFUSE("device_get_handle_by_pci_bus_id", device);
	*handle = device;
	return device ? 0 : NOT_FOUND;
}

int hlml_device_get_pci_info(void *handle, struct pci_info *info)
{
	REFUSE("device_get_pci_info", handle);
	if (!handle)
		return INVALID;
	/* What is not the address is anything. */
	memset(info, 0xff, sizeof(*info));
	snprintf(info->bus_id, ADDRESS, "%.*s", ADDRESS - 1, ((struct device *)handle)->bdf);
	return 0;
}

static int text(const char *function, void *handle, const char *name, char *buffer, unsigned int length)
{
	char said[TEXT];
	int code;

	REFUSE(function, handle);
	if (!handle)
		return INVALID;
	code = fact(handle, name, said, sizeof(said));
	if (code)
		return code;
	if (strlen(said) + 1 > length)
		return SMALL;
	strcpy(buffer, said);
	return 0;
}

int hlml_device_get_serial(void *handle, char *buffer, unsigned int length)
{
	return text("device_get_serial", handle, "serial", buffer, length);
}

int hlml_device_get_uuid(void *handle, char *buffer, unsigned int length)
{
	return text("device_get_uuid", handle, "uuid", buffer, length);
}

int hlml_device_get_module_id(void *handle, unsigned int *number)
{
	char said[TEXT];
	int code = text("device_get_module_id", handle, "module_id", said, sizeof(said));

	if (!code)
		*number = (unsigned int)atoi(said);
	return code;
}

int hlml_device_get_memory_info(void *handle, struct memory *memory)
{
	char said[TEXT];
	int code = text("device_get_memory_info", handle, "memory_total", said, sizeof(said));

	if (!code) {
		memory->total = strtoull(said, NULL, 10);
		memory->used = 1;
		memory->free = memory->total - 1;
	}
	return code;
}

int hlml_event_set_create(void **set)
{
	REFUSE("event_set_create", NULL);
	*set = calloc(1, sizeof(struct set));
	return *set ? 0 : MEMORY;
}

int hlml_event_set_free(void *set)
{
	REFUSE("event_set_free", NULL);
	free(set);
	return 0;
}

int hlml_device_register_events(void *handle, unsigned long long mask, void *events)
{
	struct set *set = events;
	struct registered *one;
	FILE *file;

	REFUSE("device_register_events", handle);
	if (!handle || !set || set->count == MOST)
		return INVALID;
	one = &set->registered[set->count++];
	*one = (struct registered){ handle, mask, 0 };
	file = open_in("devices/%s/%s", one->device->bdf, "events");
	if (file) {
		fseek(file, 0, SEEK_END);
		one->read = ftell(file);
		fclose(file);
	}
	return 0;
}

/* Whether a device has an event that was registered for. */
static int next(struct registered *one, unsigned long long *mask)
{
	FILE *file = open_in("devices/%s/%s", one->device->bdf, "events");
	char said[TEXT];
	int found = 0;

	if (!file)
		return 0;
	fseek(file, 0, SEEK_END);
	/* A shorter file is another one. */
	if (ftell(file) < one->read)
		one->read = 0;
	fseek(file, one->read, SEEK_SET);
	while (!found && fgets(said, sizeof(said), file) && strchr(said, '\n')) {
		one->read = ftell(file);
		*mask = strtoull(said, NULL, 10);
		found = (*mask & one->mask) != 0;
	}
	fclose(file);
	return found;
}

int hlml_event_set_wait(void *events, struct event_data *data, unsigned int milliseconds)
{
	struct timespec pause = { 0, 10 * 1000 * 1000 };
	struct set *set = events;

	for (int waited = 0;; waited += 10) {
		REFUSE("event_set_wait", NULL);
		for (int i = 0; i < set->count; i++)
			if (next(&set->registered[i], &data->event_type)) {
				data->device = set->registered[i].device;
				return 0;
			}
		if (waited >= (int)milliseconds)
			return TIMEOUT;
		nanosleep(&pause, NULL);
	}
}
