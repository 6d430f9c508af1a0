#include "tests/network/tunnel.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace network_test {

using branchline::crash::eventually;
using branchline::crash::fail_with;
using branchline::crash::Http;
using branchline::crash::Process;
using branchline::crash::program;
using branchline::wan::Descriptor;
using branchline::wan::Inside;

namespace {

constexpr size_t kHeaders = 28;  // IPv4 and UDP
constexpr int kPatienceMs = 60'000;

sockaddr_in inet(const std::string& address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &out.sin_addr);
  return out;
}

int new_socket(const Descriptor& network, int type) {
  const Inside inside(network);
  const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  if (fd < 0) fail_with("no socket");
  return fd;
}

uint16_t port_of(int fd) {
  sockaddr_in at{};
  socklen_t length = sizeof at;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &length);
  return ntohs(at.sin_port);
}

uint16_t free_port() {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in any = inet("127.0.0.1", 0);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    fail_with("no free port");
  }
  return port_of(socket.get());
}

std::chrono::nanoseconds wall() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

void wait_for(int fd, short events, const char* what) {
  pollfd p{fd, events, 0};
  if (::poll(&p, 1, kPatienceMs) <= 0) fail_with(std::string(what) + ": nothing for too long");
}

struct Label {
  uint32_t number = 0;
  int64_t sent_ns = 0;
};

}  // namespace

Tunnel::Tunnel(std::vector<std::string> options, std::string name) : name_(std::move(name)) {
  static int count = 0;
  if (name_.empty()) name_ = "test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
  log_file_ = folder_ / "log";
  control_ = free_port();
  std::vector<std::string> arguments{program("branchline-wan"),
                                     "tun",
                                     "--name",
                                     name_,
                                     "--control",
                                     "127.0.0.1:" + std::to_string(control_)};
  arguments.insert(arguments.end(), options.begin(), options.end());
  process_ = std::make_unique<Process>(std::move(arguments), log_file_);
  eventually("the tunnel is there", [&] {
    if (!process_->running()) fail_with("the tunnel ended: " + log());
    auto answer = Http("127.0.0.1", control_).request("GET", "/healthz");
    return answer && answer->ok();
  });
  const auto network = [&](const char* end) {
    auto found = branchline::wan::network_of(name_, end);
    if (!found) fail_with(found.error().message);
    return std::move(*found);
  };
  a_ = network("a");
  b_ = network("b");
}

branchline::Json Tunnel::stats() const {
  auto answer = Http("127.0.0.1", control_).request("GET", "/stats");
  if (!answer || !answer->ok()) fail_with("no stats: " + log());
  return answer->json();
}

uint64_t Tunnel::stat(const std::string& name) const {
  const branchline::Json all = stats();
  const auto* one = all.member(name);
  if (!one) fail_with("no figure " + name);
  return std::strtoull(one->text.c_str(), nullptr, 10);
}

void Tunnel::post(const std::string& target) {
  auto answer = Http("127.0.0.1", control_).request("POST", target);
  if (!answer || !answer->ok()) fail_with(target + ": " + (answer ? answer->body : log()));
}

Ended run_wan(std::vector<std::string> arguments) {
  const branchline::TempFolder folder;
  const std::string log = folder / "log";
  arguments.insert(arguments.begin(), program("branchline-wan"));
  Process process(std::move(arguments), log);
  const int code = process.wait();
  return {code, branchline::crash::read_file(log)};
}

Datagrams::Datagrams(const Descriptor& network, uint16_t port)
    : socket_(new_socket(network, SOCK_DGRAM)) {
  const int on = 1, room = 64 * 1024 * 1024;
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  const sockaddr_in any = inet("0.0.0.0", port);
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    fail_with(std::string("bind: ") + std::strerror(errno));
  }
}

void Datagrams::send(const std::string& address, uint16_t port, uint32_t number, size_t bytes) {
  std::string text(bytes - kHeaders, '.');
  const Label label{number, wall().count()};
  std::memcpy(text.data(), &label, sizeof label);
  const sockaddr_in to = inet(address, port);
  const ssize_t n = ::sendto(socket_.get(), text.data(), text.size(), 0,
                             reinterpret_cast<const sockaddr*>(&to), sizeof to);
  if (n < 0) fail_with(std::string("sendto: ") + std::strerror(errno));
}

std::vector<Datagrams::Arrived> Datagrams::receive(std::chrono::milliseconds quiet, size_t most) {
  std::vector<Arrived> out;
  while (out.size() < most) {
    pollfd p{socket_.get(), POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(quiet.count())) <= 0) return out;
    std::array<char, 2048> bytes;
    alignas(cmsghdr) std::array<char, 256> control;
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (::recvmsg(socket_.get(), &message, 0) < static_cast<ssize_t>(sizeof(Label))) {
      fail_with("a strange datagram");
    }
    Label label;
    std::memcpy(&label, bytes.data(), sizeof label);
    timespec taken{};
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
        std::memcpy(&taken, CMSG_DATA(c), sizeof taken);
      }
    }
    const auto at = std::chrono::seconds(taken.tv_sec) + std::chrono::nanoseconds(taken.tv_nsec);
    out.push_back({label.number, at - std::chrono::nanoseconds(label.sent_ns), at});
  }
  return out;
}

void Stream::send(std::string_view bytes) {
  while (!bytes.empty()) {
    wait_for(socket_.get(), POLLOUT, "send");
    const ssize_t n =
        ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) continue;
    if (n < 0) fail_with(std::string("send: ") + std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

std::string Stream::receive(size_t exactly) {
  std::string bytes(exactly, '\0');
  for (size_t have = 0; have < exactly;) {
    wait_for(socket_.get(), POLLIN, "receive");
    const ssize_t n = ::recv(socket_.get(), bytes.data() + have, exactly - have, 0);
    if (n <= 0) fail_with("the connection ended early");
    have += static_cast<size_t>(n);
  }
  return bytes;
}

bool Stream::readable_within(std::chrono::milliseconds time) const {
  pollfd p{socket_.get(), POLLIN, 0};
  return ::poll(&p, 1, static_cast<int>(time.count())) > 0;
}

uint32_t Stream::retransmitted() const {
  tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(socket_.get(), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) {
    fail_with("no TCP_INFO");
  }
  return info.tcpi_total_retrans;
}

Pair connect(const Descriptor& from, const Descriptor& to, const std::string& address) {
  const Descriptor listener(new_socket(to, SOCK_STREAM));
  const sockaddr_in any = inet("0.0.0.0", 0);
  if (::bind(listener.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0 ||
      ::listen(listener.get(), 1) != 0) {
    fail_with("no listener");
  }
  const sockaddr_in at = inet(address, port_of(listener.get()));
  Descriptor near(new_socket(from, SOCK_STREAM));
  if (::connect(near.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) {
    fail_with(std::string("connect: ") + std::strerror(errno));
  }
  wait_for(listener.get(), POLLIN, "accept");
  Descriptor far(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const int on = 1;
  for (const Descriptor* s : {&near, &far}) {
    ::setsockopt(s->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  return {Stream(near.release()), Stream(far.release())};
}

}  // namespace network_test
