/* What a hostile step tries, one line for each try: its name, and `refused` or `PASSED` with what it got. A try that
   passes here may still be none: what counts is what the host sees afterwards, which the test looks at. Calls that
   would harm the machine are made so that a kernel which let them through would still find a fault in them.

   probes HOST MARK VICTIM PARENT TCP UDP */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Where Linux keeps the home of root: who runs `pipe` as root has credentials there. */
#define ROOTS_HOME "/root"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static const char *host, *mark;
static char buffer[4096];

static void tell(const char *name, int passed) {
    int error = errno;
    if (passed) printf("%s: PASSED\n", name);
    else printf("%s: refused (%s)\n", name, strerror(error));
    fflush(stdout);
}

/* A call that must not reach the kernel's own code: any other error would come from there. */
static void call(const char *name, long result) {
    tell(name, result >= 0 || (errno != EPERM && errno != EACCES && errno != ENOSYS));
}

static const char *at(const char *format, const char *what) {
    static char path[4096];
    snprintf(path, sizeof path, format, what);
    return path;
}

/* Shows what it read, so that the host can look for its own words in it. */
static void reads(const char *name, const char *path) {
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t count = file < 0 ? -1 : read(file, buffer, sizeof buffer - 1);
    tell(name, count > 0);
    if (count > 0) {
        for (ssize_t i = 0; i < count; i++)
            if (buffer[i] < 32) buffer[i] = ' ';
        buffer[count] = 0;
        printf("  %s\n", buffer);
    }
    if (file >= 0) close(file);
}

static void writes(const char *name, const char *path, int flags) {
    int file = open(path, flags | O_WRONLY | O_CLOEXEC | O_NONBLOCK, 0644);
    tell(name, file >= 0);
    if (file >= 0) close(file);
}

static void lists(const char *name, const char *path) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    int found = 0;
    while (folder && (entry = readdir(folder))) found += entry->d_name[0] != '.';
    tell(name, found > 0);
    if (folder) closedir(folder);
}

static void connects(const char *name, int family, int kind, const void *address, socklen_t length) {
    int fd = socket(family, kind | SOCK_CLOEXEC, 0);
    struct timeval limit = {1, 0};
    int done = -1;
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        done = connect(fd, address, length);
        if (!done) {
            char text[200];
            snprintf(text, sizeof text, "%s via %s", mark, name);
            done = send(fd, text, strlen(text), MSG_NOSIGNAL) > 0 ? 0 : -1;
        }
    }
    tell(name, done == 0);
    if (fd >= 0) close(fd);
}

static void connects_inet(const char *name, int kind, const char *to, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, to, &address.sin_addr);
    connects(name, AF_INET, kind, &address, sizeof address);
}

static void connects_unix(const char *name, const char *path, int abstract) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
    connects(name, AF_UNIX, SOCK_STREAM, &address, offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path));
}

static void files(void) {
    reads("read-store", at("%s/store/blob", host));
    reads("read-home", at("%s/home/.netrc", host));
    reads("read-other-step", at("%s/other/out/result", host));
    reads("read-shadow", "/etc/shadow");
    reads("read-passwd", "/etc/passwd");
    reads("read-ssh-key", ROOTS_HOME "/.ssh/id_rsa");
    reads("read-host-ssh-key", "/etc/ssh/ssh_host_rsa_key");
    reads("read-aws", ROOTS_HOME "/.aws/credentials");
    reads("read-docker-config", ROOTS_HOME "/.docker/config.json");
    reads("read-machine-id", "/etc/machine-id");
    reads("read-proc-root", at("/proc/1/root%s/store/blob", host));
    reads("read-proc-cwd", at("/proc/1/cwd%s/store/blob", host));
    lists("list-home", at("%s/home", host));
    lists("list-root-home", ROOTS_HOME);
    lists("list-tmp", host);
    writes("write-store", at("%s/store/blob", host), O_APPEND);
    writes("write-home", at("%s/home/PROBE", host), O_CREAT);
    writes("write-other-step", at("%s/other/out/PROBE", host), O_CREAT);
    writes("write-host-tmp", at("%s/PROBE", host), O_CREAT);
    writes("write-usr", at("/usr/%s", mark), O_CREAT);
    writes("write-etc", at("/etc/%s", mark), O_CREAT);
    writes("write-var-tmp", at("/var/tmp/%s", mark), O_CREAT);
    writes("write-run", at("/run/%s", mark), O_CREAT);
    writes("write-root", at("/%s", mark), O_CREAT);
    writes("write-cron", at("/etc/cron.d/%s", mark), O_CREAT);
    writes("write-own-input", "in/model/weights", O_APPEND);
    writes("make-in-own-input", "in/model/PROBE", O_CREAT);
    tell("remove-own-input", unlink("in/model/weights") == 0);
    tell("rename-own-input", rename("in/model/weights", "out/stolen") == 0);
    tell("chmod-own-input", chmod("in/model/weights", 0666) == 0);
    tell("chmod-store", chmod(at("%s/store/blob", host), 0640) == 0);
    tell("chown-own-input", chown("in/model/weights", 1, 1) == 0);
    struct timespec times[2] = {{1, 0}, {1, 0}};
    tell("touch-own-input", utimensat(AT_FDCWD, "in/model/weights", times, 0) == 0);
    tell("truncate-own-input", truncate("in/model/weights", 0) == 0);
    tell("link-own-input", link("in/model/weights", "out/linked-input") == 0);
    tell("link-store", link(at("%s/store/blob", host), "out/linked-blob") == 0);
    tell("rename-out", rename("tmp", at("%s/PROBE", host)) == 0);
    tell("escape-by-dots", open(at("../../../../../../../../..%s/store/blob", host), O_RDONLY) >= 0);
    symlink(at("%s/store/blob", host), "out/soft");
    reads("read-through-link", "out/soft");
}

static void devices(void) {
    const char *never[] = {"/dev/mem",  "/dev/kmem", "/dev/port", "/dev/kmsg",         "/dev/sda",
                           "/dev/vda",  "/dev/kvm",  "/dev/fuse", "/dev/loop-control", "/dev/vsock",
                           "/dev/vhost-vsock", "/dev/uinput", "/dev/net/tun", "/dev/mapper/control", "/dev/console"};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        char name[64];
        snprintf(name, sizeof name, "open%s", never[i]);
        for (char *c = name; *c; c++)
            if (*c == '/') *c = '-';
        writes(name, never[i], 0);
    }
    int disk = 1;
    if (mknod("out/disk", S_IFBLK | 0600, (dev_t)((254 << 8) | 0)) == 0) disk = open("out/disk", O_RDONLY) >= 0;
    else disk = 0;
    tell("make-disk-node", disk);
    tell("make-memory-node", mknod("out/memory", S_IFCHR | 0600, (1 << 8) | 1) == 0);
    writes("shared-memory-file", at("/dev/shm/%s", mark), O_CREAT);
    reads("read-shared-memory-file", at("/dev/shm/%s-host", mark));
}

static void kernel(void) {
    reads("read-kcore", "/proc/kcore");
    reads("read-kmsg", "/proc/kmsg");
    reads("read-slabinfo", "/proc/slabinfo");
    reads("read-kpagecount", "/proc/kpagecount");
    writes("write-core-pattern", "/proc/sys/kernel/core_pattern", 0);
    writes("write-modprobe-path", "/proc/sys/kernel/modprobe", 0);
    writes("write-ip-forward", "/proc/sys/net/ipv4/ip_forward", 0);
    writes("write-overcommit", "/proc/sys/vm/overcommit_memory", 0);
    writes("write-binfmt", "/proc/sys/fs/binfmt_misc/register", 0);
    writes("write-hostname-setting", "/proc/sys/kernel/hostname", 0);
    writes("write-sysrq", "/proc/sysrq-trigger", 0);
    writes("write-irq", "/proc/irq/default_smp_affinity", 0);
    writes("write-mtrr", "/proc/mtrr", 0);
    writes("write-sys-power", "/sys/power/state", 0);
    writes("write-sys-cpu", "/sys/devices/system/cpu/cpu1/online", 0);
    writes("write-uevent-helper", "/sys/kernel/uevent_helper", 0);
    writes("write-sys-module", "/sys/module/printk/parameters/time", 0);
    reads("read-debugfs", "/sys/kernel/debug/sched/debug");
    tell("make-cgroup", mkdir(at("/sys/fs/cgroup/%s", mark), 0755) == 0 ||
                            mkdir(at("/sys/fs/cgroup/memory/%s", mark), 0755) == 0);
    writes("move-cgroup", "/sys/fs/cgroup/cgroup.procs", 0);
    writes("cgroup-release-agent", "/sys/fs/cgroup/memory/release_agent", 0);

    call("add-key", syscall(SYS_add_key, "user", mark, "x", 1, -3));
    call("search-key", syscall(SYS_keyctl, 10, -3, "user", at("%s-host", mark), 0));
    call("search-user-keys", syscall(SYS_keyctl, 10, -4, "user", at("%s-host", mark), 0));
    call("request-key", syscall(SYS_request_key, "user", at("%s-host", mark), 0, 0));
    call("bpf", syscall(SYS_bpf, 0, 0, 0));
    call("perf-event", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
    call("io-uring", syscall(SYS_io_uring_setup, 1, 0));
    call("io-uring-enter", syscall(SYS_io_uring_enter, -1, 0, 0, 0, 0, 0));
    call("userfaultfd", syscall(SYS_userfaultfd, 0xffff));
    call("mount", mount("none", "tmp", "tmpfs", 0, 0));
    call("remount", mount("none", "/", 0, MS_REMOUNT | MS_BIND, 0));
    call("bind-mount", mount("/proc", "tmp", 0, MS_BIND, 0));
    call("umount", umount2("in/model", MNT_DETACH));
    call("pivot-root", syscall(SYS_pivot_root, "tmp", "tmp"));
    call("chroot", chroot("tmp"));
    call("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    call("open-tree", syscall(SYS_open_tree, -100, "/", 1));
    call("move-mount", syscall(SYS_move_mount, -1, "", -1, "", 0));
    call("mount-setattr", syscall(SYS_mount_setattr, -1, "", 0, 0, 0));
    call("nested-user-namespace", unshare(CLONE_NEWUSER));
    call("nested-mount-namespace", unshare(CLONE_NEWNS));
    call("nested-network", unshare(CLONE_NEWNET));
    struct { unsigned long long flags, rest[10]; } args = {CLONE_NEWUSER, {0}};
    args.rest[3] = SIGCHLD;
    long child = syscall(SYS_clone3, &args, 88);
    if (child == 0) _exit(0);
    call("clone3-user-namespace", child);
    child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    call("clone-user-namespace", child);
    int own = open("/proc/self/ns/net", O_RDONLY);
    call("setns", syscall(SYS_setns, own, 0));
    call("open-by-handle", syscall(SYS_open_by_handle_at, -1, 0, 0));
    call("fanotify", syscall(SYS_fanotify_init, 0xffff, 0));
    call("swapon", syscall(SYS_swapon, "", 0));
    call("reboot", syscall(SYS_reboot, 1, 2, 3, 0));
    call("kexec", syscall(SYS_kexec_load, 0, 9999, 0, 0));
    call("init-module", syscall(SYS_init_module, 0, 0, ""));
    call("finit-module", syscall(SYS_finit_module, -1, "", 0));
    call("delete-module", syscall(SYS_delete_module, "", 0));
    call("syslog", syscall(SYS_syslog, 3, buffer, 10));
    call("acct", syscall(SYS_acct, "/"));
    call("quotactl", syscall(SYS_quotactl, 0xffffffff, 0, 0, 0));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    call("set-clock", clock_settime(CLOCK_REALTIME, &now));
    struct timeval same = {now.tv_sec, now.tv_nsec / 1000};
    call("set-time", settimeofday(&same, 0));
    gethostname(buffer, 100);
    call("set-host-name", sethostname(buffer, strlen(buffer)));
    call("set-domain-name", setdomainname("x", 1));
    call("type-into-terminal", ioctl(0, TIOCSTI, "x"));
    call("terminal-selection", ioctl(0, TIOCLINUX, "\2"));
#ifdef __x86_64__
    call("io-ports", syscall(SYS_iopl, 3));
    call("io-permissions", syscall(SYS_ioperm, 0, 1, 1));
    /* The same calls by their other numbers. */
    call("second-set-ptrace", syscall(0x40000000 | 521, 0, 0, 0, 0));
    call("second-set-keyctl", syscall(0x40000000 | SYS_keyctl, 0, -3, 0));
#endif
}

static void processes(int victim, int parent) {
    char path[100];
    const char *kinds[] = {"environ", "mem", "maps", "cmdline", "fd/0", "root/etc/hostname"};
    int who[] = {victim, parent};
    for (int w = 0; w < 2; w++)
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
            char name[100];
            snprintf(path, sizeof path, "/proc/%d/%s", who[w], kinds[i]);
            snprintf(name, sizeof name, "%s-%.*s", w ? "parent" : "victim", (int)strcspn(kinds[i], "/"), kinds[i]);
            if (i == 1) writes(name, path, 0);
            else reads(name, path);
        }
    call("ptrace-attach", ptrace(PTRACE_ATTACH, victim, 0, 0));
    call("ptrace-seize", ptrace(PTRACE_SEIZE, victim, 0, 0));
    struct iovec here = {buffer, 1}, there = {(void *)environ, 1};
    tell("read-memory", process_vm_readv(victim, &here, 1, &there, 1, 0) > 0 || errno == EFAULT);
    tell("write-memory", process_vm_writev(victim, &here, 1, &there, 1, 0) > 0 || errno == EFAULT);
    tell("signal-victim", kill(victim, SIGTERM) == 0);
    tell("signal-parent", kill(parent, 0) == 0);
    tell("signal-group", kill(-victim, SIGTERM) == 0);
    /* Under `strict` the parent is the first process of the step's own namespace. */
    tell("signal-supervisor", getppid() > 1 && kill(getppid(), 0) == 0);
    int descriptor = syscall(SYS_pidfd_open, victim, 0);
    tell("signal-by-descriptor", descriptor >= 0 && syscall(SYS_pidfd_send_signal, descriptor, SIGTERM, 0, 0) == 0);
    call("steal-descriptor", syscall(SYS_pidfd_getfd, descriptor, 0, 0));
    struct rlimit64 none = {0, 0};
    tell("limit-victim", prlimit64(victim, RLIMIT_CPU, &none, 0) == 0);
    tell("slow-victim-down", setpriority(PRIO_PROCESS, victim, 19) == 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    tell("move-victim", sched_setaffinity(victim, sizeof one, &one) == 0);
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", victim);
    writes("victim-out-of-memory", path, 0);
    int caps = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(buffer, 200, status))
        caps |= !strncmp(buffer, "Cap", 3) && strncmp(buffer, "CapBnd", 6) && strspn(strchr(buffer, '\t') + 1, "0") < 16;
    tell("capabilities", caps);
    tell("new-privileges", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1);
    tell("become-another", getuid() == 0 ? setresuid(1, 1, 1) == 0 : setresuid(0, 0, 0) == 0);
}

static void sharing(void) {
    key_t key = 0;
    for (const char *c = mark; *c; c++) key = key * 31 + *c;
    tell("system-v-memory", shmget(key, 1, 0) >= 0);
    tell("system-v-semaphores", semget(key, 1, 0) >= 0);
    tell("system-v-queue", msgget(key, 0) >= 0);
    tell("message-queue", mq_open(at("/%s-host", mark), O_RDONLY | O_NONBLOCK) >= 0);
    tell("variables", getenv("PROBE_CANARY") != 0);
}

static void network(int tcp, int udp) {
    connects_inet("tcp-loopback", SOCK_STREAM, "127.0.0.1", tcp);
    connects_inet("udp-loopback", SOCK_DGRAM, "127.0.0.1", udp);
    connects_inet("tcp-metadata", SOCK_STREAM, "169.254.169.254", 80);
    connects_inet("tcp-outside", SOCK_STREAM, "192.0.2.1", 80);
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(tcp), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    connects("tcp-loopback-six", AF_INET6, SOCK_STREAM, &six, sizeof six);
    connects_unix("unix-by-path", at("%s/socket", host), 0);
    connects_unix("unix-abstract", mark, 1);
    connects_unix("docker-socket", "/var/run/docker.sock", 0);
    connects_unix("system-bus", "/run/dbus/system_bus_socket", 0);
    call("raw-socket", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    call("packet-socket", socket(AF_PACKET, SOCK_RAW, 0));
    call("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
    call("kernel-crypto-socket", socket(AF_ALG, SOCK_SEQPACKET, 0));
}

static void left_behind(void) {
    int file = open("out/made-setuid", O_CREAT | O_WRONLY, 04755);
    call("make-setuid", file);
    file = open("out/setuid", O_CREAT | O_WRONLY, 0755);
    call("chmod-setuid", chmod("out/setuid", 04755));
    call("chmod-setgid", chmod("out/setuid", 02755));
    call("fchmod-setuid", fchmod(file, 06755));
    call("fchmodat-setuid", fchmodat(AT_FDCWD, "out/setuid", 04755, 0));
    call("fchmodat2-setuid", syscall(SYS_fchmodat2, AT_FDCWD, "out/setuid", 04755, 0));
    call("mknod-setuid", mknod("out/node-setuid", S_IFREG | 04755, 0));
    call("nameless-setuid", open("out", O_TMPFILE | O_WRONLY, 04755));
    struct { unsigned long long flags, mode, resolve; } how = {O_CREAT | O_WRONLY, 04755, 0};
    call("openat2-setuid", syscall(SYS_openat2, AT_FDCWD, "out/setuid-2", &how, sizeof how));
    /* Twice forked, in a session of its own, out of the group; it writes once the step is over. */
    pid_t child = fork();
    if (child == 0) {
        setsid();
        if (fork() > 0) _exit(0);
        setpgid(0, 0);
        prctl(PR_SET_NAME, "late-writer");
        for (int i = 0; i < 100; i++) {
            usleep(20000);
            int late = open("out/late", O_CREAT | O_WRONLY | O_APPEND, 0644);
            if (late >= 0 && write(late, "x", 1) == 1) close(late);
        }
        _exit(0);
    }
    waitpid(child, 0, 0);
}

int main(int count, char **words) {
    if (count != 7) return 2;
    host = words[1];
    mark = words[2];
    alarm(60);
    int inherited = 0;
    for (int fd = 3; fd < 1024; fd++) inherited += fcntl(fd, F_GETFD) >= 0;
    tell("inherited-descriptor", inherited > 0);
    files();
    devices();
    sharing();
    network(atoi(words[5]), atoi(words[6]));
    left_behind();
    kernel();
    processes(atoi(words[3]), atoi(words[4]));
    puts("done");
    return 0;
}
