#include "tools/wan/ends.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <stdexcept>

namespace branchline::wan {

namespace {

constexpr const char* kFolder = "/run/branchline-wan";
constexpr size_t kMaxName = 32;
constexpr int kMaxNet = 62;  // the last of 192.0.2.0/24, four addresses each
// What waits in the kernel for this process to read it. The line's own queue is what counts, so
// this one only has to bridge the time until we wake.
constexpr int kDeviceQueue = 10'000;

std::string reason() { return std::strerror(errno); }

std::unexpected<Error> failed(const std::string& what) {
  if (errno == EPERM || errno == EACCES) {
    return fail(ErrorKind::denied, "wan.not_allowed",
                what + ": " + reason() +
                    "; making networks needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN): use sudo, "
                    "and start a container with --privileged");
  }
  return fail(ErrorKind::unavailable, "wan.ends", what + ": " + reason());
}

Result<Descriptor> here() {
  Descriptor network(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (network.get() < 0) return failed("this thread's network");
  return network;
}

// The thread comes back to where it was.
Result<Descriptor> make_network() {
  BL_ASSIGN(const Descriptor home, here());
  if (::unshare(CLONE_NEWNET) != 0) return failed("a new network");
  auto fresh = here();
  if (::setns(home.get(), CLONE_NEWNET) != 0) throw std::runtime_error("cannot leave a network");
  return fresh;
}

struct Request : ifreq {
  explicit Request(const char* device = "") : ifreq{} {
    std::strncpy(ifr_name, device, IFNAMSIZ - 1);
  }
};

sockaddr_in inet_address(const std::string& text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  return address;
}

Result<void> bring_up(int socket, const char* device) {
  Request up(device);
  if (::ioctl(socket, SIOCGIFFLAGS, &up) != 0) return failed(device);
  up.ifr_flags = static_cast<short>(up.ifr_flags | IFF_UP);
  if (::ioctl(socket, SIOCSIFFLAGS, &up) != 0) return failed(std::string("starting ") + device);
  return {};
}

// Addresses may be given only once it is known which device this is.
struct Device {
  Descriptor tun;
  std::string name;
  int net = 0;
};

// In the calling thread's network.
Result<Device> make_device(std::optional<int> net) {
  Device device;
  device.tun = Descriptor(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (device.tun.get() < 0) {
    if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
      return fail(ErrorKind::denied, "wan.not_allowed",
                  "/dev/net/tun: " + reason() +
                      "; load the kernel's module (modprobe tun), and give a container the device "
                      "(--device /dev/net/tun)");
    }
    return failed("/dev/net/tun");
  }
  Request request(net ? ("wan" + std::to_string(*net)).c_str() : "wan%d");
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  if (::ioctl(device.tun.get(), TUNSETIFF, &request) != 0) return failed("a TUN device");
  device.name = request.ifr_name;
  const char* digits = request.ifr_name + 3;
  std::from_chars(digits, digits + std::strlen(digits), device.net);
  if (device.net > kMaxNet) {
    return fail(ErrorKind::denied, "wan.too_many",
                "more than " + std::to_string(kMaxNet) + " lines end here");
  }
  return device;
}

// `gateway`: whatever is not here is at the other end.
Result<void> set_up(const Device& device, const std::string& address, bool gateway) {
  const Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return failed("a socket");
  BL_TRY(bring_up(socket.get(), "lo"));
  Request request(device.name.c_str());
  const sockaddr_in own = inet_address(address), mask = inet_address("255.255.255.252");
  std::memcpy(&request.ifr_addr, &own, sizeof own);
  if (::ioctl(socket.get(), SIOCSIFADDR, &request) != 0) return failed("address " + address);
  std::memcpy(&request.ifr_netmask, &mask, sizeof mask);
  if (::ioctl(socket.get(), SIOCSIFNETMASK, &request) != 0) return failed("mask of " + address);
  request.ifr_qlen = kDeviceQueue;
  if (::ioctl(socket.get(), SIOCSIFTXQLEN, &request) != 0) return failed("queue of a device");
  BL_TRY(bring_up(socket.get(), device.name.c_str()));
  if (!gateway) return {};
  rtentry route{};
  const sockaddr_in any = inet_address("0.0.0.0");
  std::memcpy(&route.rt_dst, &any, sizeof any);
  std::memcpy(&route.rt_genmask, &any, sizeof any);
  route.rt_flags = RTF_UP;
  std::string name = device.name;
  route.rt_dev = name.data();
  if (::ioctl(socket.get(), SIOCADDRT, &route) != 0) return failed("route of " + device.name);
  return {};
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::string path_of(std::string_view name) {
  return std::string(kFolder) + "/" + std::string(name);
}

struct flock whole_file() {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

struct Running {
  int process = 0;
  std::array<int, 2> networks{};  // descriptors of the process
};

// Nothing: no line of this name runs. A file that nobody has locked was left by a line that was
// killed.
std::optional<Running> find(std::string_view name) {
  const Descriptor file(::open(path_of(name).c_str(), O_RDWR | O_CLOEXEC));
  struct flock lock = whole_file();
  if (file.get() < 0 || ::fcntl(file.get(), F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) {
    return std::nullopt;
  }
  std::array<char, 64> text{};
  if (::pread(file.get(), text.data(), text.size() - 1, 0) <= 0) return std::nullopt;
  Running r;
  if (std::sscanf(text.data(), "%d %d %d", &r.process, &r.networks[0], &r.networks[1]) != 3) {
    return std::nullopt;
  }
  return r;
}

// Removes what killed lines left. The caller holds the folder's lock, so nobody is between opening
// a file and locking it.
void sweep() {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder, none)) {
    const Descriptor file(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC));
    struct flock lock = whole_file();
    if (file.get() >= 0 && ::fcntl(file.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK) {
      ::unlink(entry.path().c_str());
    }
  }
}

std::string all_running() {
  std::string names;
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder, none)) {
    const std::string name = entry.path().filename();
    if (find(name)) names += (names.empty() ? "" : ", ") + name;
  }
  return names.empty() ? "no line runs" : "these run: " + names;
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Inside::Inside(const Descriptor& network) {
  auto home = here();
  if (!home) throw std::runtime_error(home.error().message);
  home_ = std::move(*home);
  if (::setns(network.get(), CLONE_NEWNET) != 0) {
    throw std::runtime_error("entering a network: " + reason());
  }
}

Inside::~Inside() {
  // A thread that stayed would send to the wrong place from here on.
  if (::setns(home_.get(), CLONE_NEWNET) != 0) std::terminate();
}

Result<Descriptor> network_of(std::string_view line, std::string_view end) {
  if (end != "a" && end != "b") {
    return fail(ErrorKind::invalid, "wan.end",
                "'" + std::string(end) + "' is no end of a line: write a or b");
  }
  const auto none = [line] {
    return fail(ErrorKind::not_found, "wan.name",
                "no line named '" + std::string(line) + "' runs; " + all_running());
  };
  const auto running = is_name(line) ? find(line) : std::nullopt;
  if (!running) return none();
  const std::string path = "/proc/" + std::to_string(running->process) + "/fd/" +
                           std::to_string(running->networks[end == "a" ? 0 : 1]);
  Descriptor network(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (network.get() < 0 && errno == ENOENT) return none();  // it has ended meanwhile
  if (network.get() < 0) return failed("the network of " + std::string(line));
  return network;
}

// The file of a line's name, locked; gone with the line.
class Ends::Held {
 public:
  Held(Descriptor file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  ~Held() { ::unlink(path_.c_str()); }
  int file() const { return file_.get(); }

 private:
  Descriptor file_;
  const std::string path_;
};

Ends::Ends() = default;
Ends::Ends(Ends&&) noexcept = default;
Ends::~Ends() = default;

Result<std::unique_ptr<Ends::Held>> Ends::hold(std::string_view name) {
  if (!is_name(name)) {
    return fail(ErrorKind::invalid, "wan.name",
                "'" + std::string(name) + "' is no name: write up to " + std::to_string(kMaxName) +
                    " letters, digits, '-', '_' and '.'");
  }
  if (::mkdir(kFolder, 0755) != 0 && errno != EEXIST) return failed(kFolder);
  const Descriptor folder(::open(kFolder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::flock(folder.get(), LOCK_EX) != 0) return failed(kFolder);
  sweep();
  const std::string path = path_of(name);
  for (;;) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (file.get() < 0) return failed(path);
    struct flock lock = whole_file();
    if (::fcntl(file.get(), F_OFD_SETLK, &lock) != 0) {
      const auto running = find(name);
      return fail(ErrorKind::conflict, "wan.name",
                  "a line named '" + std::string(name) + "' runs already" +
                      (running ? " (process " + std::to_string(running->process) + ")" : "") +
                      ": end it, or choose another name");
    }
    // Between open and lock a line that ended may have removed this file, and a next one made its
    // own.
    struct stat mine{}, named{};
    if (::fstat(file.get(), &mine) != 0 || ::stat(path.c_str(), &named) != 0 ||
        mine.st_ino != named.st_ino) {
      continue;
    }
    auto held = std::make_unique<Held>(std::move(file), path);
    // What a line that was killed wrote leads nowhere, or to what others have opened since.
    if (::ftruncate(held->file(), 0) != 0) return failed(path);
    return held;
  }
}

Result<Ends> Ends::make(std::string_view name, std::string_view b_of) {
  Ends ends;
  BL_ASSIGN(ends.name_, hold(name));
  BL_ASSIGN(ends.networks_[0], make_network());
  if (b_of.empty()) {
    BL_ASSIGN(ends.networks_[1], make_network());
  } else {
    BL_ASSIGN(ends.networks_[1], network_of(b_of, "b"));
  }
  std::array<Device, 2> devices;
  {
    const Inside inside(ends.networks_[1]);
    BL_ASSIGN(devices[1], make_device(std::nullopt));
    ends.addresses_[1] = "192.0.2." + std::to_string(4 * devices[1].net + 2);
    BL_TRY(set_up(devices[1], ends.addresses_[1], false));
  }
  {
    const Inside inside(ends.networks_[0]);
    BL_ASSIGN(devices[0], make_device(devices[1].net));
    ends.addresses_[0] = "192.0.2." + std::to_string(4 * devices[1].net + 1);
    BL_TRY(set_up(devices[0], ends.addresses_[0], true));
  }
  for (size_t end = 0; end < devices.size(); ++end)
    ends.devices_[end] = std::move(devices[end].tun);
  return ends;
}

std::array<int, 2> Ends::take_devices() { return {devices_[0].release(), devices_[1].release()}; }

Result<void> Ends::announce() {
  const std::string text = std::to_string(::getpid()) + " " + std::to_string(networks_[0].get()) +
                           " " + std::to_string(networks_[1].get()) + "\n";
  if (::pwrite(name_->file(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return failed(kFolder);
  }
  return {};
}

Error become(std::string_view line, std::string_view end, char** command) {
  auto network = network_of(line, end);
  if (!network) return network.error();
  if (::setns(network->get(), CLONE_NEWNET) != 0) return failed("entering the network").error();
  ::execvp(command[0], command);
  return fail(ErrorKind::not_found, "wan.command", std::string(command[0]) + ": " + reason())
      .error();
}

}  // namespace branchline::wan
