// External memory behind an AXI4 master port of the model, one step a cycle, no allocation in it.
//
// The port's outputs must depend on the design's registers alone, as they are read before the
// inputs of the same cycle are set. The memory is the caller's: it may look at it, and write to it,
// between cycles.

#pragma once

#include <cstdint>
#include <cstring>
#include <deque>

namespace systolith {

// Times and faults, as systolith.sim.external.MemoryTiming.
struct Timing final {
    uint64_t base;          // bus address of byte 0
    uint32_t latency;       // cycles from an address to its first beat, from a last beat to its answer
    uint32_t rate;          // beats a cycle of each direction, in 1/65536
    uint32_t stalls;        // 0: none; else seed of the xorshift generator that stalls all channels
    uint64_t error_address; // offset of a byte whose accesses fail; ~0: none
};

// The port's signals in the model's storage; `bytes` is the storage of an address.
struct Port final {
    uint8_t *arvalid, *arready, *rvalid, *rready, *rlast, *rresp;
    uint8_t *awvalid, *awready, *wvalid, *wready, *wlast, *bvalid, *bready, *bresp;
    uint8_t *arlen, *awlen;
    void *araddr, *awaddr, *rdata, *wdata, *wstrb;
    uint32_t address_bytes;
    uint32_t data_bytes;
};

class AxiMemory final {
public:
    AxiMemory(uint8_t* bytes, uint64_t size, const Port& port, const Timing& timing)
        : bytes_(bytes), size_(size), port_(port), timing_(timing), random_(timing.stalls) {
        *port.arready = *port.awready = *port.wready = *port.rvalid = *port.bvalid = 0;
    }

    // Choose the inputs of this cycle, and do what its clock edge will do. Tells whether an input
    // may have changed.
    bool step() {
        const uint64_t before = inputs();
        ++now_;
        read_credit_ = refill(read_credit_);
        write_credit_ = refill(write_credit_);
        read_data();
        read_address();
        write_answer();
        write_address();
        write_data();
        return *port_.rvalid || inputs() != before;
    }

private:
    static constexpr uint32_t kOne = 65536;
    static constexpr size_t kBursts = 64; // that the memory takes before it makes the master wait

    struct Burst final {
        uint64_t address; // offset of the next beat
        uint32_t left;    // beats
        uint64_t due;
    };
    struct Answer final {
        uint64_t due;
        uint8_t response;
    };

    uint8_t* bytes_;
    uint64_t size_;
    Port port_;
    Timing timing_;
    uint32_t random_;
    uint64_t now_ = 0;
    uint32_t read_credit_ = 0, write_credit_ = 0;
    std::deque<Burst> reads_, writes_;
    std::deque<Answer> answers_;
    uint8_t failed_ = 0; // response of the burst that is being written
    bool read_held_ = false, answer_held_ = false;

    // All inputs but the data read.
    uint64_t inputs() const {
        const uint8_t* const all[] = {port_.arready, port_.rvalid, port_.rlast, port_.rresp,
                                      port_.awready, port_.wready, port_.bvalid, port_.bresp};
        uint64_t packed = 0;
        for (const uint8_t* one : all) packed = packed << 8 | *one;
        return packed;
    }

    uint32_t refill(uint32_t credit) const {
        return credit >= kOne ? credit : credit + timing_.rate;
    }

    // Whether a channel stands still in this cycle: one in four do.
    bool stalled() {
        if (!timing_.stalls) return false;
        random_ ^= random_ << 13;
        random_ ^= random_ >> 17;
        random_ ^= random_ << 5;
        return (random_ & 3) == 0;
    }

    uint64_t offset(const void* address) const {
        uint64_t value = 0;
        std::memcpy(&value, address, port_.address_bytes);
        return value - timing_.base;
    }

    // OKAY, SLVERR at the faulty byte, DECERR where there is no memory.
    uint8_t response(uint64_t address) const {
        const uint64_t first = address / port_.data_bytes * port_.data_bytes;
        if (timing_.error_address - first < port_.data_bytes) return 2;
        // The last beat may reach behind the end of a memory of any size.
        return first < size_ ? 0 : 3;
    }

    uint64_t inside(uint64_t address) const {
        const uint64_t rest = address < size_ ? size_ - address : 0;
        return rest < port_.data_bytes ? rest : port_.data_bytes;
    }

    void read_data() {
        if (!read_held_) {
            *port_.rvalid = 0;
            if (reads_.empty() || reads_.front().due > now_ || read_credit_ < kOne || stalled())
                return;
            read_credit_ -= kOne;
            Burst& burst = reads_.front();
            std::memset(port_.rdata, 0, port_.data_bytes);
            if (const uint64_t count = inside(burst.address))
                std::memcpy(port_.rdata, bytes_ + burst.address, count);
            *port_.rresp = response(burst.address);
            *port_.rlast = --burst.left == 0;
            *port_.rvalid = 1;
            burst.address += port_.data_bytes;
            if (!burst.left) reads_.pop_front();
        }
        read_held_ = !*port_.rready;
    }

    void read_address() {
        *port_.arready = reads_.size() < kBursts && !stalled();
        if (*port_.arready && *port_.arvalid)
            reads_.push_back({offset(port_.araddr), *port_.arlen + 1U, now_ + timing_.latency});
    }

    void write_answer() {
        if (!answer_held_) {
            *port_.bvalid = 0;
            if (answers_.empty() || answers_.front().due > now_ || stalled()) return;
            *port_.bresp = answers_.front().response;
            *port_.bvalid = 1;
            answers_.pop_front();
        }
        answer_held_ = !*port_.bready;
    }

    void write_address() {
        *port_.awready = writes_.size() < kBursts && !stalled();
        if (*port_.awready && *port_.awvalid)
            writes_.push_back({offset(port_.awaddr), *port_.awlen + 1U, 0});
    }

    // A beat is taken once its address is known, in the same cycle at the earliest.
    void write_data() {
        *port_.wready = !writes_.empty() && write_credit_ >= kOne && !stalled();
        if (!*port_.wready || !*port_.wvalid) return;
        write_credit_ -= kOne;
        Burst& burst = writes_.front();
        const auto* data = static_cast<const uint8_t*>(port_.wdata);
        uint32_t strobe = 0;
        std::memcpy(&strobe, port_.wstrb, (port_.data_bytes + 7) / 8);
        const uint64_t count = inside(burst.address);
        for (uint64_t i = 0; i < count; ++i)
            if (strobe >> i & 1) bytes_[burst.address + i] = data[i];
        if (!failed_) failed_ = response(burst.address);
        burst.address += port_.data_bytes;
        if (--burst.left) return;
        answers_.push_back({now_ + timing_.latency, failed_});
        failed_ = 0;
        writes_.pop_front();
    }
};

} // namespace systolith
