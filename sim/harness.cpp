// Generic harness around one Verilated model, called through ctypes (see sim/binding.py).
//
// One Sim is one context and one model, so any number of instances live in one process. Loops over
// cycles stay in C++; Python touches the model's storage through raw pointers between them.
//
// Defined on the command line: SL_TRACE (0 none, 1 VCD, 2 FST), SL_CLOCK (1: there is a `clk`) and
// SL_SINGLE_CLOCK (1: nothing but the rising edge of `clk` triggers a process).
// "ports.inc" is generated: one SL_PORT(name, direction, width, signed, member) a port.

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "axi_memory.h"
#include "Vdut.h"
#include "verilated.h"
#include "verilated_syms.h"
#if SL_SINGLE_CLOCK
#include "Vdut___024root.h"
void Vdut___024root___eval(Vdut___024root* vlSelf);
void Vdut___024root___eval_nba(Vdut___024root* vlSelf);
#endif
#if SL_TRACE == 1
#include "verilated_vcd_c.h"
using Tracer = VerilatedVcdC;
#elif SL_TRACE == 2
#include "verilated_fst_c.h"
using Tracer = VerilatedFstC;
#endif

#define SL_API extern "C" __attribute__((visibility("default")))

namespace {

enum Direction : int32_t { SL_INTERNAL = 0, SL_INPUT = 1, SL_OUTPUT = 2 };

struct Variable final {
    std::string name;
    void* data;
    uint32_t width;
    uint32_t depth;      // 0 for a scalar, else the number of words
    uint32_t word_bytes; // storage of one word
    int32_t direction;
    int32_t is_signed;
};

thread_local std::string* sl_log = nullptr;

uint32_t storage_bytes(uint32_t width) {
    if (width <= 8) return 1;
    if (width <= 16) return 2;
    if (width <= 32) return 4;
    if (width <= 64) return 8;
    return 4 * ((width + 31) / 32);
}

class Sim final {
public:
    VerilatedContext context;
    std::unique_ptr<Vdut> model;
    std::vector<Variable> variables;
    std::string log;
    std::string failure;
    uint64_t cycles = 0;
    std::unique_ptr<systolith::AxiMemory> memory;
#if SL_TRACE
    std::unique_ptr<Tracer> tracer;
#endif

    Sim() {
        context.fatalOnError(false);
#if SL_TRACE
        context.traceEverOn(true);
#endif
        model = std::make_unique<Vdut>(&context, "TOP");
        add_ports();
        add_internals();
    }

    ~Sim() {
        sl_log = &log;
#if SL_TRACE
        if (tracer) tracer->close();
#endif
        if (failure.empty()) model->final();
    }

    bool stopped() const { return context.gotFinish(); }

    void eval() { model->eval(); }

    void dump() {
#if SL_TRACE
        if (tracer) tracer->dump(context.time());
#endif
    }

    // One cycle: the edge, with the inputs that were set before it; then the falling edge.
    // `same`: no input, and nothing that belongs to the design, was changed since the last one.
    void cycle(bool same) {
#if SL_SINGLE_CLOCK
        // The model's inner evaluation without the bookkeeping of Vdut::eval(), which serves threads
        // and class objects; and no evaluation of the falling edge, on which nothing happens. If no
        // input has changed, neither has the logic behind inputs: what the edge triggers is enough.
        if (same) {
            model->rootp->__VnbaTriggered[0U] = 1U;
            Vdut___024root___eval_nba(model->rootp);
            model->rootp->__VnbaTriggered[0U] = 0U;
        } else {
            model->clk = 1;
            Vdut___024root___eval(model->rootp);
            model->clk = 0;
            model->rootp->__Vtrigprevexpr___TOP__clk__0 = 0;
        }
#elif SL_CLOCK
        (void)same;
        model->clk = 1;
        model->eval();
        model->clk = 0;
        model->eval();
#endif
        ++cycles;
    }

    void traced_cycle() {
#if SL_CLOCK && SL_TRACE
        model->eval();
        dump();
        context.timeInc(5);
        model->clk = 1;
        model->eval();
        dump();
        context.timeInc(5);
        model->clk = 0;
        model->eval();
        ++cycles;
#endif
    }

    bool tracing() const {
#if SL_TRACE
        return tracer != nullptr;
#else
        return false;
#endif
    }

    template <typename Until>
    uint64_t run(uint64_t limit, Until until) {
        const bool traced = tracing();
        if (!cycles) eval(); // initialises the model
        uint64_t done = 0;
        for (; !stopped() && !until() && done < limit; ++done) {
            // The caller may have set inputs or memories before the first cycle.
            const bool changed = memory && memory->step();
            traced ? traced_cycle() : cycle(done && !changed);
        }
        return done;
    }

    // The storage of a port, or null.
    void* port(const std::string& name) const {
        for (const Variable& item : variables)
            if (item.direction != SL_INTERNAL && item.name == name) return item.data;
        return nullptr;
    }

    // Connect a memory to the AXI4 master whose ports begin with `prefix`; false: there is none.
    bool connect(const std::string& prefix, uint8_t* bytes, uint64_t size,
                 const systolith::Timing& timing, uint32_t address_bytes, uint32_t data_bytes) {
        systolith::Port out{};
        const auto flag = [&](const char* name) {
            return static_cast<uint8_t*>(port(prefix + name));
        };
        out.arvalid = flag("arvalid"), out.arready = flag("arready"), out.arlen = flag("arlen");
        out.rvalid = flag("rvalid"), out.rready = flag("rready"), out.rlast = flag("rlast");
        out.rresp = flag("rresp"), out.awvalid = flag("awvalid"), out.awready = flag("awready");
        out.awlen = flag("awlen"), out.wvalid = flag("wvalid"), out.wready = flag("wready");
        out.wlast = flag("wlast"), out.bvalid = flag("bvalid"), out.bready = flag("bready");
        out.bresp = flag("bresp"), out.araddr = flag("araddr"), out.awaddr = flag("awaddr");
        out.rdata = flag("rdata"), out.wdata = flag("wdata"), out.wstrb = flag("wstrb");
        for (const void* found :
             {static_cast<void*>(out.arvalid), static_cast<void*>(out.rvalid), out.wdata})
            if (!found) return false;
        out.address_bytes = address_bytes;
        out.data_bytes = data_bytes;
        memory = std::make_unique<systolith::AxiMemory>(bytes, size, out, timing);
        return true;
    }

private:
    void add_port(const char* name, int32_t direction, uint32_t width, int32_t sign,
                  void* data) {
        variables.push_back({name, data, width, 0, storage_bytes(width), direction, sign});
    }

    void add_ports() {
#define SL_PORT(name, direction, width, sign, member) \
    add_port(name, direction, width, sign, &model->member);
#include "ports.inc"
#undef SL_PORT
    }

    void add_internals() {
        for (const auto& scope : *context.scopeNameMap()) {
            const std::string path = scope.first;
            const auto* vars = scope.second->varsp();
            if (path == "TOP" || !vars) continue; // TOP holds the ports, which are added already
            for (const auto& item : *vars) add_internal(path, item.second);
        }
    }

    void add_internal(const std::string& path, const VerilatedVar& var) {
        if (var.udims() > 1) return; // Yosys prints no such arrays
        const uint32_t depth = var.udims() == 1 ? var.elements(1) : 0;
        const uint32_t width = var.entBits();
        variables.push_back({path + "/" + var.name(), var.datap(), width, depth,
                             storage_bytes(width), SL_INTERNAL, var.isSigned()});
    }
};

uint64_t load(const void* data, uint32_t bytes) {
    switch (bytes) {
    case 1: return *static_cast<const uint8_t*>(data);
    case 2: return *static_cast<const uint16_t*>(data);
    case 4: return *static_cast<const uint32_t*>(data);
    default: return *static_cast<const uint64_t*>(data);
    }
}

// Calls `body` with messages captured and exceptions kept as the instance's failure.
template <typename Body>
auto guarded(Sim* sim, Body body) -> decltype(body()) {
    std::string* const before = sl_log;
    sl_log = &sim->log;
    decltype(body()) result{};
    try {
        result = body();
    } catch (const std::exception& error) {
        sim->failure = error.what();
        sim->context.gotFinish(true);
        sim->context.gotError(true);
    }
    sl_log = before;
    return result;
}

} // namespace

// Verilator's hooks (VL_PRINTF and VL_USER_FATAL, set on the command line).

int sl_printf(const char* format, ...) {
    char buffer[4096];
    va_list arguments;
    va_start(arguments, format);
    const int count = std::vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    if (sl_log && sl_log->size() < (1U << 20)) sl_log->append(buffer);
    return count;
}

void vl_fatal(const char* filename, int line, const char*, const char* message) {
    throw std::runtime_error{std::string{filename} + ":" + std::to_string(line) + ": " + message};
}

// The interface of Python.

SL_API Sim* sl_new() {
    try {
        return new Sim;
    } catch (const std::exception&) {
        return nullptr;
    }
}

SL_API void sl_delete(Sim* sim) { delete sim; }

SL_API int sl_trace_kind() { return SL_TRACE; }

SL_API int sl_has_clock() { return SL_CLOCK; }

SL_API uint32_t sl_variable_count(Sim* sim) { return sim->variables.size(); }

SL_API const char* sl_variable(Sim* sim, uint32_t index, void** data, uint32_t* numbers) {
    const Variable& var = sim->variables.at(index);
    *data = var.data;
    numbers[0] = var.width;
    numbers[1] = var.depth;
    numbers[2] = var.word_bytes;
    numbers[3] = static_cast<uint32_t>(var.direction);
    numbers[4] = static_cast<uint32_t>(var.is_signed);
    return var.name.c_str();
}

SL_API void sl_eval(Sim* sim) {
    guarded(sim, [&] { sim->eval(); return 0; });
}

SL_API uint64_t sl_cycles(Sim* sim) { return sim->cycles; }

// 0 going on, 1 $finish, 2 an assertion or error.
SL_API int sl_status(Sim* sim) {
    if (sim->context.gotError() || !sim->failure.empty()) return 2;
    return sim->stopped() ? 1 : 0;
}

SL_API const char* sl_failure(Sim* sim) { return sim->failure.c_str(); }

SL_API const char* sl_log_text(Sim* sim) { return sim->log.c_str(); }

SL_API void sl_log_clear(Sim* sim) { sim->log.clear(); }

SL_API uint64_t sl_tick(Sim* sim, uint64_t count) {
    return guarded(sim, [&] { return sim->run(count, [] { return false; }); });
}

// Run until (*data & mask) == value, at most `limit` cycles; the condition may hold at once.
SL_API uint64_t sl_run_until(Sim* sim, const void* data, uint32_t bytes, uint64_t mask,
                             uint64_t value, uint64_t limit, int* reached) {
    *reached = 0;
    return guarded(sim, [&] {
        sim->eval();
        return sim->run(limit, [&] {
            return (*reached = (load(data, bytes) & mask) == value) != 0;
        });
    });
}

// Connect external memory; `numbers` are base, latency, rate, stalls, error address, bytes of an
// address and of a beat. Null `bytes` disconnect. The bytes must live until then. Returns success.
SL_API int sl_connect_memory(Sim* sim, const char* prefix, uint8_t* bytes, uint64_t size,
                             const uint64_t* numbers) {
    sim->memory.reset();
    if (!bytes) return 1;
    const systolith::Timing timing{numbers[0], static_cast<uint32_t>(numbers[1]),
                                   static_cast<uint32_t>(numbers[2]),
                                   static_cast<uint32_t>(numbers[3]), numbers[4]};
    return sim->connect(prefix, bytes, size, timing, static_cast<uint32_t>(numbers[5]),
                        static_cast<uint32_t>(numbers[6]));
}

// Drive `count` cycles from arrays: set the inputs, settle, sample the outputs, tick.
SL_API uint64_t sl_drive(Sim* sim, uint64_t count, uint32_t inputs, void** input_data,
                         const uint32_t* input_bytes, const uint8_t** input_arrays,
                         uint32_t outputs, void** output_data, const uint32_t* output_bytes,
                         uint8_t** output_arrays) {
    return guarded(sim, [&] {
        // A memory may change inputs between cycles, and a trace wants every edge.
        const bool plain = !sim->memory && !sim->tracing();
        uint64_t at = 0;
        for (; at < count && !sim->stopped(); ++at) {
            bool same = plain && at;
            for (uint32_t i = 0; i < inputs; ++i) {
                const uint8_t* next = input_arrays[i] + at * input_bytes[i];
                same = same && !std::memcmp(input_data[i], next, input_bytes[i]);
                std::memcpy(input_data[i], next, input_bytes[i]);
            }
            if (!same) sim->eval();
            for (uint32_t i = 0; i < outputs; ++i)
                std::memcpy(output_arrays[i] + at * output_bytes[i], output_data[i],
                            output_bytes[i]);
            if (plain) {
                sim->cycle(true); // the logic behind the inputs has settled
            } else {
                sim->run(1, [] { return false; });
            }
        }
        return at;
    });
}

SL_API int sl_trace_open(Sim* sim, const char* path) {
#if SL_TRACE
    return guarded(sim, [&] {
        if (sim->tracer) return 0;
        auto tracer = std::make_unique<Tracer>();
        sim->model->trace(tracer.get(), 99);
        tracer->open(path);
        if (!tracer->isOpen()) return 0;
        sim->tracer = std::move(tracer);
        return 1;
    });
#else
    (void)sim, (void)path;
    return 0;
#endif
}

SL_API void sl_trace_close(Sim* sim) {
#if SL_TRACE
    guarded(sim, [&] {
        if (sim->tracer) {
            sim->dump();
            sim->tracer->close();
            sim->tracer.reset();
        }
        return 0;
    });
#else
    (void)sim;
#endif
}
